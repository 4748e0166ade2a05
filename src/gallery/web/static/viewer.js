/** One photo, large, with an editable title, facts and buttons for its neighbours. Its URL is the page's with the id. */

import * as api from "./api.js";
import { copyPage, copyPicture } from "./copying.js";
import { facts, row } from "./facts.js";
import { Focus } from "./focus.js";
import { Playground } from "./playground.js";
import { isSet, set } from "./remembered.js";
import { plainSrcset, sources } from "./sources.js";
import { paint } from "./thumbhash.js";
import { editable } from "./title.js";

/** @typedef {import("./api.js").Image} Image */

const SWIPE = 48; // px
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };
const TINY = 32; // px of a longer side: a placeholder would have more pixels than the picture
const CLOSED_FACTS = "gallery.facts.closed";

export class Viewer {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {HTMLDialogElement} sure asks before a photo is deleted
   * @param {import("./wall.js").Wall} wall
   * @param {import("./messages.js").Messages} messages
   */
  constructor(dialog, sure, wall, messages) {
    this.dialog = dialog;
    this.sure = sure;
    this.wall = wall;
    this.messages = messages;
    this.part = (selector) => dialog.querySelector(selector);
    /** @type {?Image} */
    this.image = null;
    this.title = editable(this.part("[name=title]"), {
      change: (title) => this.#rename(title),
      leave: () => this.part(".stage").focus(),
    });
    this.focus = new Focus(this.part, {
      save: (focus) => this.#refocus(focus),
      say: (sentence) => messages.say(sentence),
    });
    this.playground = new Playground(document.getElementById("playground"), messages);
    this.#listen();
    this.#showFacts(!isSet(CLOSED_FACTS));
  }

  /** Called after the list was read: open the photo that the page's URL names. */
  async start() {
    const id = location.hash.slice(1);
    if (this.image || !/^[\da-f-]{36}$/.test(id)) return;
    history.replaceState(null, "", location.pathname);
    const image = this.wall.find(id) ?? (await api.image(id).catch(({ message }) => this.#trouble(message)));
    if (image?.status === "READY") this.open(image);
  }

  /** @param {Image} image */
  open(image) {
    history.pushState(null, "", `#${image.id}`);
    this.dialog.showModal();
    this.#show(image);
    this.part(".stage").focus();
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  /** Delete an image, after a confirmation. */
  remove(image) {
    const yes = this.sure.querySelector(".yes");
    this.sure.querySelector(".what").textContent = image.title;
    yes.onclick = () => this.#delete(image);
    this.sure.showModal();
  }

  #listen() {
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("close", () => this.#closed());
    this.part(".close").onclick = () => this.dialog.close();
    this.part(".newer").onclick = () => this.#step(-1);
    this.part(".older").onclick = () => this.#step(1);
    this.part(".try-sizes").onclick = () => this.playground.open(this.image);
    this.part(".delete").onclick = () => this.remove(this.image);
    this.part(".copy").onclick = (event) => this.#copy(event, copyPage);
    this.part(".copy-image").onclick = (event) => this.#copy(event, copyPicture);
    this.part(".info").onclick = () => this.#showFacts(this.dialog.classList.contains("bare"));
    this.#swipe(this.part(".stage"));
    addEventListener("popstate", () => this.dialog.close());
    this.wall.addEventListener("change", ({ detail }) => detail === this.image?.id && this.#show(this.wall.find(detail)));
    this.wall.addEventListener("remove", ({ detail }) => detail === this.image?.id && this.dialog.close());
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, textarea")) return;
    if (event.key in STEPS) this.#step(STEPS[event.key]);
    else if (event.key === "Delete") this.remove(this.image);
  }

  #showFacts(shown) {
    this.dialog.classList.toggle("bare", !shown);
    this.part(".info").setAttribute("aria-expanded", String(shown));
    set(CLOSED_FACTS, !shown);
    if (this.image) this.title.set(this.image.title); // measured anew
  }

  #swipe(stage) {
    let from = null;
    stage.addEventListener("touchstart", ({ touches }) => (from = touches.length === 1 ? touches[0] : null), { passive: true });
    stage.addEventListener("touchend", ({ changedTouches: [to] }) => {
      const zoomed = visualViewport.scale > 1;
      const [x, y] = from ? [to.clientX - from.clientX, to.clientY - from.clientY] : [0, 0];
      if (!zoomed && Math.abs(x) > Math.max(SWIPE, 2 * Math.abs(y))) this.#step(x > 0 ? -1 : 1);
    });
  }

  #step(step) {
    const image = this.wall.beside(this.image.id, step);
    if (!image) return;
    this.#goTo(image);
    this.messages.say(image.title);
  }

  #goTo(image) {
    history.replaceState(null, "", `#${image.id}`);
    this.#show(image);
    this.part(".stage").focus();
  }

  #closed() {
    const { id } = this.image;
    this.image = null;
    if (location.hash) history.back();
    this.wall.focus(id);
  }

  /** @param {Image} image */
  #show(image) {
    const before = this.image;
    this.image = image;
    if (before?.id !== image.id || document.activeElement !== this.part("[name=title]")) this.title.set(image.title);
    this.part(".trouble").textContent = "";
    for (const link of this.dialog.querySelectorAll(".original, .download")) link.href = api.original(image.id);
    this.part(".download").download = image.originalName;
    this.part(".copy").href = `#${image.id}`;
    this.part(".newer").disabled = !this.wall.beside(image.id, -1);
    this.part(".older").disabled = !this.wall.beside(image.id, 1);
    this.focus.show(image.focus);
    this.part(".facts").replaceChildren(...facts(image).flatMap(row));
    if (before?.id !== image.id || plainSrcset(before) !== plainSrcset(image)) this.#picture(image);
    else this.part(".photo").alt = image.alt || image.title;
  }

  /** A new element for each photo, so that the one before never appears under this title. */
  #picture(image) {
    const [frame, canvas, old] = [this.part(".frame"), this.part("canvas"), this.part("picture")];
    const largest = Math.max(...image.renditions.map(({ width }) => width));
    frame.classList.remove("loaded");
    delete frame.dataset.photo;
    frame.style.setProperty("--ratio", String(image.width / image.height));
    frame.style.setProperty("--width", `${largest}px`);
    frame.style.setProperty("--color", image.placeholder?.color ?? "transparent");
    [canvas.width, canvas.height] = [1, 1]; // empties it
    if (image.placeholder && Math.max(image.width, image.height) > TINY) paint(canvas, image.placeholder.thumbhash);
    const picture = document.createElement("picture");
    const photo = old.querySelector("img").cloneNode();
    photo.onload = () => frame.classList.add("loaded");
    photo.alt = image.alt || image.title;
    [photo.width, photo.height] = [image.width, image.height];
    picture.append(...sources(image, photo.sizes), photo);
    photo.srcset = plainSrcset(image);
    photo.src = api.original(image.id);
    old.replaceWith(picture);
  }

  #rename(title) {
    return this.#edit({ title }, "The title is saved.");
  }

  /** A click is easily made by mistake, so the message offers to take it back. */
  #refocus(focus) {
    const { id, focus: before } = this.image;
    const undo = { label: "Undo", run: () => this.image?.id === id && this.#edit({ focus: before }, "The focus is as before.") };
    return this.#edit({ focus }, focus ? "The focus is set." : "The focus is cleared.", { key: "focus", action: undo });
  }

  async #edit(changes, done, options = {}) {
    const image = this.image;
    try {
      this.wall.put(await api.edit(image.id, image.version, changes));
      this.messages.show(done, options);
    } catch (problem) {
      this.part(".trouble").textContent = problem.message;
    }
  }

  async #delete(image) {
    try {
      await api.remove(image.id);
    } catch (problem) {
      if (problem.status !== 404) {
        this.#trouble(`${image.title} is not deleted. ${problem.message}`);
        return;
      }
    }
    const other = this.image === image ? this.wall.beside(image.id, 1) ?? this.wall.beside(image.id, -1) : null;
    if (other) this.#goTo(other);
    this.wall.remove(image.id);
    this.messages.show(`${image.title} is deleted.`);
  }

  /** The first button is a link: it can be followed where copying is not possible. */
  async #copy(event, copy) {
    event.preventDefault();
    try {
      this.messages.show(await copy(this.image), { key: "copied" });
    } catch (problem) {
      this.#trouble(problem.message);
    }
  }

  #trouble(sentence) {
    this.messages.show(sentence, { trouble: true });
  }
}
