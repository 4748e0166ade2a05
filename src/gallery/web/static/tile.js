/** One photo on the wall: first the file that is uploaded, then the renditions of its image. */

import { original } from "./api.js";
import { plainFormat, plainSrcset, sources } from "./sources.js";
import { paint } from "./thumbhash.js";

/** @typedef {import("./api.js").Image} Image */

const WORDS = {
  uploading: "Uploading",
  held: "Waiting for the server",
  paused: "Paused",
  unfinished: "",
  waiting: "Waiting",
  rendering: "Rendering",
  ready: "",
  failed: "",
};
const STATES = { PENDING: "waiting", PROCESSING: "rendering", READY: "ready", FAILED: "failed" };
const FLATTEST = 3; // a panorama wider than this, or a picture taller than that, is cropped on the wall
const TALLEST = 0.5;
const MAX_PREVIEW = 32 * 1024 * 1024; // bytes of a file that the browser decodes only to show it while it is uploaded
const TINY = 32; // px of a longer side: a placeholder would have more pixels than the picture

export class Tile {
  /** @param {HTMLTemplateElement} template */
  constructor(template) {
    this.element = template.content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    this.button = part(".open");
    this.hash = part(".hash");
    this.local = part(".local");
    this.photo = part(".photo");
    this.word = part(".word");
    this.bar = part("progress");
    this.names = this.element.querySelectorAll(".name, .which");
    this.sentence = part(".sentence");
    this.again = part(".again");
    this.delete = part(".delete");
    this.dismiss = part(".dismiss");
    this.pause = part(".pause");
    /** @type {?Image} */
    this.image = null;
    /** @type {?File} */
    this.file = null;
    this.photo.onload = () => this.#loaded();
    this.local.onload = () => this.image?.width || this.#shape(this.local.naturalWidth, this.local.naturalHeight);
    this.local.onerror = () => this.element.classList.add("blind"); // HEIC, in most browsers
  }

  /** The file itself, until there are renditions. @param {File | import("./unfinished.js").Entry} file */
  preview(file) {
    this.file = file;
    const seen = file instanceof File && file.size <= MAX_PREVIEW;
    if (seen) this.local.src = URL.createObjectURL(file);
    this.element.classList.toggle("blind", !seen);
    this.#called(file.name, file.name);
    this.element.dataset.kind = /\.(\w{1,5})$/.exec(file.name)?.[1].toUpperCase() ?? "?";
    this.#state("uploading");
  }

  /** Take over the preview of an upload whose image has a tile already. */
  takePreview(other) {
    this.file = other.file;
    this.local.src = other.local.src;
  }

  progress(part) {
    this.#state("uploading");
    this.bar.value = part;
    this.word.textContent = part < 1 ? `${Math.floor(part * 100)} %` : "Checking";
  }

  /** The upload waits for others. @param {number} part that has been sent */
  wait(part) {
    this.#state("uploading");
    this.bar.value = part;
    this.word.textContent = "Next";
    this.dismiss.setAttribute("aria-label", `Cancel upload of ${this.file.name}`);
    this.dismiss.title = "Cancel upload";
  }

  /** The upload waits until the server accepts it. */
  hold() {
    this.#state("held");
  }

  /** The upload can be paused. @param {() => void} pause */
  pausable(pause) {
    this.#switch(pause, "Pause");
  }

  /** @param {() => void} resume */
  paused(resume) {
    this.#state("paused");
    this.#switch(resume, "Resume");
  }

  /** The upload has begun before this page was loaded. @param {?number} part that has arrived */
  unfinished(part, choose, forget) {
    this.#state("unfinished");
    this.sentence.textContent = part === null ? "Uploaded in part" : `${Math.floor(part * 100)} % uploaded`;
    this.again.hidden = false;
    this.again.textContent = "Choose file";
    this.again.setAttribute("aria-label", `Choose ${this.file.name} again`);
    this.again.onclick = choose;
    this.dismiss.onclick = forget;
    this.dismiss.setAttribute("aria-label", `Forget the upload of ${this.file.name}`);
    this.dismiss.title = "Forget the upload";
  }

  /** The upload has failed. @param {?() => void} again */
  fail(sentence, again, dismiss) {
    this.#state("failed");
    this.sentence.textContent = sentence;
    this.again.hidden = again === null;
    this.again.textContent = "Retry";
    this.again.onclick = again;
    this.delete.hidden = true;
    this.dismiss.onclick = dismiss;
    this.dismiss.setAttribute("aria-label", `Dismiss ${this.file.name}`);
    this.dismiss.title = "Dismiss";
  }

  /** @param {Image} image */
  show(image) {
    const before = this.image;
    this.image = image;
    this.#called(image.title, nameOf(image));
    this.#state(STATES[image.status]);
    this.sentence.textContent = image.error?.message ?? "";
    this.again.hidden = this.delete.hidden = image.status !== "FAILED";
    this.again.onclick = this.dismiss.onclick = null;
    this.again.textContent = "Retry";
    this.dismiss.hidden = this.pause.hidden = true;
    if (image.status === "READY") this.button.removeAttribute("aria-disabled");
    this.photo.alt = image.alt || image.title;
    if (image.width) this.#shape(image.width, image.height);
    if (image.placeholder && image.placeholder.thumbhash !== before?.placeholder?.thumbhash) this.#place(image);
    if (plainSrcset(image) && (!before || plainSrcset(image) !== plainSrcset(before))) this.#picture(image);
  }

  remove() {
    this.#forget();
    this.element.remove();
  }

  #switch(run, verb) {
    this.pause.hidden = false;
    this.pause.onclick = run;
    this.pause.title = `${verb} upload`;
    this.pause.dataset.verb = verb.toLowerCase();
    this.pause.setAttribute("aria-label", `${verb} upload of ${this.file.name}`);
  }

  #called(title, name) {
    for (const element of this.names) element.textContent = element.matches(".name") ? title : name;
    this.button.setAttribute("aria-label", title);
    this.again.setAttribute("aria-label", `Retry ${title}`);
    this.delete.setAttribute("aria-label", `Delete ${title}`);
  }

  /** The button stays focusable by the arrow keys, also while there is no photo to open. */
  #state(state) {
    this.element.dataset.state = state;
    this.word.textContent = WORDS[state];
    this.button.setAttribute("aria-disabled", "true");
  }

  #shape(width, height) {
    this.element.style.setProperty("--ratio", Math.min(FLATTEST, Math.max(TALLEST, width / height)).toFixed(4));
  }

  #place({ placeholder, width, height }) {
    this.element.style.setProperty("--color", placeholder.color);
    if (Math.max(width, height) > TINY) paint(this.hash, placeholder.thumbhash);
  }

  /** `auto` where browsers know how wide a lazy picture is shown; else about as wide as a row is high, times its ratio. */
  #picture(image) {
    const wide = sizes(image.width / image.height);
    this.photo.parentElement.replaceChildren(...sources(image, wide), this.photo);
    this.photo.sizes = wide;
    this.photo.srcset = plainSrcset(image);
    this.photo.width = image.width;
    this.photo.height = image.height;
    this.photo.src = image.renditions.find(({ format }) => format === plainFormat(image))?.url ?? original(image.id);
  }

  #loaded() {
    this.element.classList.add("loaded");
    setTimeout(() => this.#forget(), 600); // when it has faded in
  }

  #forget() {
    if (this.local.src) URL.revokeObjectURL(this.local.src);
    this.local.removeAttribute("src");
  }
}

/** The value of `sizes`. A panorama is cropped to its middle, so the whole picture is wider than its tile. */
function sizes(ratio) {
  const width = `${Math.round(ratio * 18)}rem`;
  return ratio > FLATTEST ? `min(${Math.round((ratio / FLATTEST) * 100)}vw, ${width})` : `auto, min(100vw, ${width})`;
}

/** A title that comes from the file's name is shown as that name, with its extension. */
function nameOf({ title, originalName }) {
  return originalName.replace(/\.[^.]*$/, "") === title ? originalName : title;
}
