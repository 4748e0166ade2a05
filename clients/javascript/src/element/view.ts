import { button, element, hide, icon, label } from "./dom.js";
import type { GalleryUploadElement } from "./element.js";
import type { Texts } from "./messages.js";
import { type Action, Row } from "./row.js";
import type { Uploads } from "./uploads.js";

const FRAME_MS = 8; // for rows, of one frame
const FIRST_MS = 500; // until something is told: more may come
const BETWEEN_MS = 5000;

export type Choice = "files" | "folder" | "camera";

/** All that is seen and told: the zone, the summary, the list, and the texts for screen readers. */
export class View {
  texts!: Texts;
  readonly choose = button("choose", () => this.pick("files"));
  readonly #folder = button("folder", () => this.pick("folder"));
  readonly #camera = button("camera", () => this.pick("camera"));
  readonly #all = button("all", () =>
    this.uploads.summary().active ? this.uploads.queue?.pause() : this.uploads.queue?.resume(),
  );
  readonly #retryAll = button("retry-all", () => this.uploads.queue?.retry());
  readonly #title = element("span", "title");
  readonly #hint = element("span", "hint", { id: "hint" });
  readonly #notice = element("p", "notice", { hidden: true });
  readonly #counts = element("span", "counts");
  readonly #overall = element("progress", "progress overall");
  readonly #list = element("ul", "list", { role: "list" });
  readonly #live = element("p", "live", { role: "status" });
  readonly #zone = element(
    "div",
    "dropzone",
    {},
    element("span", "icon", {}, icon("upload")),
    element(
      "div",
      "words",
      {},
      element("slot", "", { name: "title" }, this.#title),
      element("slot", "", { name: "hint" }, this.#hint),
    ),
    element("div", "buttons", {}, this.choose, this.#camera, this.#folder),
  );
  readonly #summary = element(
    "div",
    "summary",
    {},
    element("div", "words", {}, this.#counts, this.#overall),
    this.#retryAll,
    this.#all,
  );
  readonly #rows = new Map<string, Row>();
  #count = 0;
  #frame = 0;
  #notes: string[] = [];
  #telling: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly host: GalleryUploadElement,
    private readonly root: ShadowRoot,
    private readonly uploads: Uploads,
    private readonly pick: (what: Choice) => void,
  ) {
    this.choose.setAttribute("aria-describedby", "hint");
    this.#zone.onclick = (event) => {
      if (!this.host.isDisabled && !(event.target as Element).closest("button,a")) pick("files");
    };
    root.append(element("div", "whole", {}, this.#zone, this.#notice, this.#summary, this.#list, this.#live));
  }

  /** Draws what has changed, before the next frame. */
  draw(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#drawZone();
      this.#drawSummary();
      this.#drawRows();
    });
  }

  over(over: boolean): void {
    this.#zone.setAttribute("part", over ? "dropzone dropzone-over" : "dropzone");
    this.#zone.classList.toggle("over", over);
  }

  /** What was left out; stays until the next files come. */
  notice(sentences: string): void {
    this.#notice.textContent = sentences;
    this.#notice.hidden = !sentences;
    this.#tell(sentences);
  }

  /** For screen readers, with what else is to be told by then: not more often than every five seconds. */
  #tell(note = ""): void {
    if (note) this.#notes.push(note);
    this.#telling ??= setTimeout(() => {
      const counts = `${this.#counts.textContent}.`;
      this.#live.textContent = [...this.#notes.splice(0), counts].join(" ");
      this.#telling = setTimeout(() => {
        this.#telling = undefined;
        if (this.#notes.length || counts !== `${this.#counts.textContent}.`) this.#tell();
      }, BETWEEN_MS);
    }, FIRST_MS);
  }

  #drawZone(): void {
    const { multiple, maxFiles, directory, isDisabled } = this.host;
    const { texts } = this;
    const n = multiple ? 2 : 1;
    const some = this.uploads.entries.length > 0;
    this.#zone.classList.toggle("compact", some);
    this.#zone.classList.toggle("disabled", isDisabled);
    this.#title.textContent = texts.say("drop", { n });
    const limit = multiple && maxFiles ? ` · ${texts.say("atMost", { n: maxFiles })}` : "";
    this.#hint.textContent = texts.say("paste") + limit;
    label(this.choose, texts.say(some && !multiple ? "chooseAnother" : "choose", { n }));
    label(this.#folder, texts.say("chooseFolder"), "folder");
    label(this.#camera, texts.say("takePhoto"), "camera");
    hide(this.#folder, !directory, this.choose);
    hide(this.#camera, !this.host.hasAttribute("capture"), this.choose);
    for (const button of [this.choose, this.#folder, this.#camera, this.#all, this.#retryAll])
      button.disabled = isDisabled;
  }

  #drawSummary(): void {
    const { all, done, active, paused, failed, sent, total } = this.uploads.summary();
    const { texts } = this;
    const counts = texts.say("summary", { n: all, done }) + (failed ? `, ${texts.say("failures", { n: failed })}` : "");
    if (counts !== this.#counts.textContent) {
      this.#counts.textContent = counts;
      if (all) this.#tell();
    }
    this.#overall.value = total ? sent / total : 1;
    this.#overall.ariaLabel = texts.say("progressAll");
    this.#overall.hidden = !active && !paused;
    label(this.#all, texts.say(active ? "pauseAll" : "resumeAll"));
    label(this.#retryAll, texts.say("retryAll"));
    hide(this.#all, all < 2 || (!active && !paused), this.choose);
    hide(this.#retryAll, all < 2 || !failed, this.choose);
    this.#summary.hidden = all < 2;
  }

  /** Many rows are made and changed in several frames, so that the page stays responsive. */
  #drawRows(): void {
    const { entries } = this.uploads;
    const ids = new Set(entries.map(({ id }) => id));
    for (const [id, row] of this.#rows) if (!ids.has(id)) this.#rows.delete(id) && row.end();
    const until = performance.now() + FRAME_MS;
    let next = this.#list.firstElementChild;
    for (const entry of entries) {
      let row = this.#rows.get(entry.id);
      if (row?.entry !== entry && performance.now() > until) {
        this.draw();
        return;
      }
      row ??= this.#newRow(entry.id);
      row.show(entry, this.texts);
      row.disable(this.host.isDisabled);
      if (row.element === next) next = next.nextElementSibling;
      else this.#list.insertBefore(row.element, next);
    }
  }

  #newRow(id: string): Row {
    this.#count = this.#rows.size ? this.#count + 1 : 1;
    const row = new Row(this.uploads, this.#count, (action) => this.#act(action, id, row));
    this.#rows.set(id, row);
    return row;
  }

  #act(action: Action, id: string, row: Row): void {
    if (action === "remove") {
      const rows = [...this.#rows.values()];
      const at = rows.indexOf(row);
      const near = rows[at + 1] ?? rows[at - 1];
      if (row.element.contains(this.root.activeElement)) (near?.remove ?? this.choose).focus();
      this.#tell(this.texts.say("removed", { name: row.name }));
    }
    if (action === "remove") this.uploads.remove(id);
    else this.uploads.queue?.[action](id);
  }
}
