import type { GalleryUploadElement } from "./element.js";
import { accepts, dropped, PHOTOS } from "./files.js";
import type { Choice } from "./view.js";

const AT_ONCE = 200;

/** Of the files of one drop, paste or choice: how many were left out, and why. */
export interface LeftOut {
  notPhotos: number;
  unreadable: number;
  tooMany: boolean;
}

export interface Taking {
  /** How many more photos there may be. */
  room(): number;
  /** Files are being read. */
  begins(): void;
  take(files: File[]): void;
  leftOut(what: LeftOut): void;
  over(over: boolean): void;
}

/** Where files come from: a dialog, a drop, the clipboard, the page itself. */
export class Intake {
  readonly input = document.createElement("input");
  /** Folders that are still being read. */
  reading = 0;
  #turn = 0;

  constructor(
    private readonly element: GalleryUploadElement,
    private readonly to: Taking,
  ) {
    this.input.type = "file";
    this.input.hidden = true;
    this.input.oninput = (event) => event.stopPropagation(); // the element has its own, once a photo is stored
    this.input.onchange = () => {
      this.add([...(this.input.files ?? [])]);
      this.input.value = "";
    };
    for (const type of ["dragenter", "dragover", "dragleave", "drop"] as const)
      element.addEventListener(type, (event) => this.#drag(event));
  }

  /** Opens the dialog for files or a folder, or the camera. */
  choose(what: Choice): void {
    const { input, element } = this;
    const isCamera = what === "camera";
    input.accept = isCamera ? "image/*" : element.accept || PHOTOS;
    input.multiple = element.multiple && what === "files";
    input.webkitdirectory = what === "folder";
    input.removeAttribute("capture");
    if (isCamera) input.setAttribute("capture", element.capture);
    input.click();
  }

  add(files: readonly File[]): void {
    void this.#sort(inBatches(files));
  }

  /** Of what is still being read, nothing more is taken. */
  stop(): void {
    this.#turn += 1;
  }

  /** Takes pictures from the clipboard while the element has the focus, or no other element has it. */
  readonly paste = (event: ClipboardEvent): void => {
    const files = [...(event.clipboardData?.files ?? [])];
    const focus = document.activeElement;
    const isMeant = !focus || focus === document.body || this.element.matches(":focus-within");
    const isShown = this.element.getClientRects().length > 0;
    if (!files.length || !isMeant || !isShown || event.defaultPrevented || this.element.isDisabled) return;
    event.preventDefault(); // also for other elements of the page
    this.add(files);
  };

  #drag(event: DragEvent): void {
    const { dataTransfer, type } = event;
    if (!dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // else the browser leaves the page to show the file
    const takes = !this.element.isDisabled;
    dataTransfer.dropEffect = takes ? "copy" : "none";
    this.to.over(takes && /enter|over/.test(type));
    if (takes && type === "drop") void this.#sort(dropped(dataTransfer));
  }

  async #sort(batches: AsyncIterable<(File | undefined)[]>): Promise<void> {
    const { accept, multiple } = this.element;
    const left = { notPhotos: 0, unreadable: 0, tooMany: false };
    const turn = this.#turn;
    let isFirst = true;
    this.reading += 1;
    this.to.begins();
    try {
      for await (const batch of batches) {
        if (turn !== this.#turn) return;
        const readable = batch.filter((file) => file !== undefined);
        const photos = readable.filter((file) => accepts(accept || PHOTOS, file));
        const free = multiple ? this.to.room() : +isFirst; // without `multiple`, a new photo replaces the old one
        left.unreadable += batch.length - readable.length;
        left.notPhotos += readable.length - photos.length;
        left.tooMany ||= photos.length > free;
        const taken = photos.slice(0, free);
        if (!taken.length) continue;
        isFirst = false;
        this.to.take(taken);
      }
    } finally {
      this.reading -= 1;
      this.to.leftOut(left);
    }
  }
}

/** Thousands of files go in portions, between which the page can do other things. */
async function* inBatches(files: readonly File[]): AsyncGenerator<File[]> {
  for (let at = 0; at < files.length; at += AT_ONCE) {
    yield files.slice(at, at + AT_ONCE);
    await new Promise((done) => setTimeout(done));
  }
}
