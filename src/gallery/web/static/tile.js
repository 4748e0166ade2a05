/** One photo on the wall, from the file somebody drops to the renditions of the image it becomes. */

import { original } from "./api.js";
import { paint } from "./thumbhash.js";

/** @typedef {import("./api.js").Image} Image */

const WORDS = { uploading: "Uploading", waiting: "Waiting", rendering: "Rendering", ready: "", failed: "" };
const STATES = { PENDING: "waiting", PROCESSING: "rendering", READY: "ready", FAILED: "failed" };
const FLATTEST = 3; // a panorama wider than this, or a picture taller than that, is cropped on the wall
const TALLEST = 0.5;

export class Tile {
  /** @param {HTMLTemplateElement} template */
  constructor(template) {
    this.element = template.content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    this.button = part(".open");
    this.hash = part(".hash");
    this.local = part(".local");
    this.source = part("source");
    this.photo = part(".photo");
    this.name = part(".name");
    this.word = part(".word");
    this.bar = part("progress");
    this.which = part(".which");
    this.sentence = part(".sentence");
    this.again = part(".again");
    this.dismiss = part(".dismiss");
    /** @type {?Image} */
    this.image = null;
    /** @type {?File} */
    this.file = null;
    this.photo.onload = () => this.#loaded();
    this.local.onload = () => this.image?.width || this.#shape(this.local.naturalWidth, this.local.naturalHeight);
    this.local.onerror = () => this.element.classList.add("blind"); // HEIC, in most browsers
  }

  /** The file itself, until there are renditions. */
  preview(file) {
    this.file = file;
    this.local.src = URL.createObjectURL(file);
    this.#called(file.name);
    this.element.dataset.kind = /\.(\w{1,5})$/.exec(file.name)?.[1].toUpperCase() ?? "?";
    this.#state("uploading");
  }

  /** The preview of an upload whose image has got here first. */
  takePreview(other) {
    this.file = other.file;
    this.local.src = other.local.src;
  }

  progress(part) {
    this.#state("uploading");
    this.bar.value = part;
    this.word.textContent = part < 1 ? `${Math.floor(part * 100)} %` : "Checking";
  }

  /** Its turn comes later. */
  wait() {
    this.#state("uploading");
    this.bar.value = 0;
    this.word.textContent = "Next";
  }

  /** @param {?() => void} again */
  fail(sentence, again, dismiss) {
    this.#state("failed");
    this.sentence.textContent = sentence;
    this.again.hidden = again === null;
    this.again.onclick = again;
    this.dismiss.onclick = dismiss;
  }

  /** @param {Image} image */
  show(image) {
    const before = this.image;
    this.image = image;
    this.#called(image.title);
    this.#state(STATES[image.status]);
    this.sentence.textContent = image.error?.message ?? "";
    this.again.hidden = true;
    this.dismiss.onclick = null;
    this.button.disabled = image.status !== "READY";
    this.photo.alt = image.alt || image.title;
    if (image.width) this.#shape(image.width, image.height);
    if (image.placeholder && image.placeholder.thumbhash !== before?.placeholder?.thumbhash) this.#place(image);
    if (image.srcset.jpeg && image.srcset.jpeg !== before?.srcset.jpeg) this.#picture(image);
  }

  remove() {
    this.#forget();
    this.element.remove();
  }

  #called(title) {
    this.name.textContent = this.which.textContent = title;
    this.button.setAttribute("aria-label", title);
    this.dismiss.setAttribute("aria-label", `Dismiss ${title}`);
  }

  #state(state) {
    this.element.dataset.state = state;
    this.word.textContent = WORDS[state];
    this.button.disabled = true;
  }

  #shape(width, height) {
    this.element.style.setProperty("--ratio", Math.min(FLATTEST, Math.max(TALLEST, width / height)).toFixed(4));
  }

  #place({ placeholder }) {
    this.element.style.setProperty("--color", placeholder.color);
    paint(this.hash, placeholder.thumbhash);
  }

  /** `auto` where browsers know how wide a lazy picture is shown; else about as wide as a row is high, times its ratio. */
  #picture(image) {
    const ratio = Math.min(FLATTEST, image.width / image.height);
    const sizes = `auto, min(100vw, ${Math.round(ratio * 18)}rem)`;
    this.source.sizes = this.photo.sizes = sizes;
    this.source.srcset = image.srcset.webp ?? "";
    this.photo.srcset = image.srcset.jpeg;
    this.photo.width = image.width;
    this.photo.height = image.height;
    this.photo.src = image.renditions.find(({ format }) => format === "jpeg")?.url ?? original(image.id);
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
