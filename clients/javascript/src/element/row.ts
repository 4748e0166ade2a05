import { button, element, hide, icon, label } from "./dom.js";
import type { Texts } from "./messages.js";
import type { Entry, Uploads } from "./uploads.js";

const ACTIONS = {
  waiting: "pause",
  uploading: "pause",
  paused: "resume",
  failed: "retry",
  processing: undefined,
  ready: undefined,
} as const;

export type Action = "pause" | "resume" | "retry" | "remove";

/** A line of the list. It changes only where the entry does, so that the focus stays. */
export class Row {
  name = "";
  entry: Entry | undefined;
  readonly remove = button("round remove", () => this.act("remove"));
  readonly #action = button("round action", () => this.#state && this.act(ACTIONS[this.#state] ?? "remove"));
  readonly #name = element("bdi", "name");
  readonly #status = element("span", "status");
  readonly #progress = element("progress", "progress");
  readonly #thumbnail: Thumbnail;
  readonly element: HTMLLIElement;
  #texts: Texts | undefined;

  constructor(
    uploads: Uploads,
    private readonly number: number,
    private readonly act: (action: Action) => void,
  ) {
    this.#thumbnail = new Thumbnail(uploads);
    const words = element("div", "words", {}, this.#name, this.#status, this.#progress);
    this.element = element("li", "item", {}, this.#thumbnail.element, words, this.#action, this.remove);
  }

  get #state() {
    return this.entry?.state;
  }

  show(entry: Entry, texts: Texts): void {
    if (entry === this.entry && texts === this.#texts) return;
    this.entry = entry;
    this.#texts = texts;
    const { state, file, image, sent, total } = entry;
    const name = file?.name ?? (image?.title || image?.originalName) ?? texts.say("photo", { n: this.number });
    const action = ACTIONS[state];
    this.name = this.#name.textContent = name;
    this.element.className = `item ${state}`;
    this.element.setAttribute("part", `item item-${state}`);
    this.#status.textContent = status(entry, texts);
    label(this.remove, texts.say("remove", { name }), "cross", true);
    if (action) label(this.#action, texts.say(action, { name }), action, true);
    hide(this.#action, !action, this.remove);
    this.#progress.hidden = state === "ready" || state === "failed";
    this.#progress.ariaLabel = texts.say("progress", { name });
    if (state === "processing") this.#progress.removeAttribute("value");
    else this.#progress.value = sent / (total || 1);
    this.#thumbnail.show(entry);
  }

  disable(disabled: boolean): void {
    this.#action.disabled = this.remove.disabled = disabled;
  }

  /** Frees the memory of its picture. */
  end(): void {
    this.element.remove();
    this.#thumbnail.free();
  }
}

function status({ state, sent, total, error, image }: Entry, texts: Texts): string {
  if (state === "failed") return error ? texts.error(error) : "";
  if (state === "uploading")
    return texts.say(state, { percent: texts.percent(sent / (total || 1)), size: texts.size(total) });
  return texts.say(image?.duplicate ? "duplicate" : state);
}

/** A small picture: the file itself, then the rendition; a drawing where neither can be shown. */
class Thumbnail {
  readonly #img = element("img", "", { alt: "", loading: "lazy", decoding: "async", draggable: false, hidden: true });
  readonly element = element("span", "thumbnail", {}, icon("photo"), this.#img);
  #from: "file" | "rendition" | undefined;
  #broken = false;

  constructor(private readonly uploads: Uploads) {}

  show(entry: Entry): void {
    const { file, image, state } = entry;
    this.#img.onload = () => this.free();
    this.#img.onerror = () => {
      this.free();
      this.#img.hidden = this.#broken = true;
      this.show(entry);
    };
    if (image?.placeholder) this.element.style.backgroundColor = image.placeholder.color;
    if (!this.#from && file) {
      this.#from = "file";
      this.#load(URL.createObjectURL(file));
    }
    if (this.#from === "rendition" || state !== "ready" || !image) return;
    if (file && !this.#broken && image.visibility !== "public") return;
    this.#from = "rendition";
    const url = this.uploads.preview(image, !file || image.visibility === "public");
    url.then((found) => found && this.#load(found)).catch(() => {}); // the drawing stays
  }

  free(): void {
    if (this.#img.src.startsWith("blob:")) URL.revokeObjectURL(this.#img.src);
  }

  #load(url: string): void {
    this.free();
    this.#img.hidden = false;
    this.#img.src = url;
  }
}
