/** Short messages at the page's edge. Screen readers announce them; they never take the focus, and close by themselves. */

const SHORTEST = 6000; // ms on the page
const READING = 70; // ms more for each character
const WITH_ACTION = 6000; // ms more for a message with a button
const TICK = 250; // ms
const MAX_SHOWN = 4;

/**
 * @typedef {object} Options
 * @property {string} [key] a message replaces the one with the same key
 * @property {boolean} [trouble] something went wrong
 * @property {{label: string, run: () => void}} [action]
 * @property {{label: string, run: () => void}} [other] a second action
 * @property {boolean} [lasting] it cannot be dismissed, since its actions are nowhere else
 * @property {number} [progress] 0 to 1: a bar, and the message stays until it is replaced or dismissed
 */

export class Messages {
  /** @param {HTMLElement} box with an element of `role=status`, a list and a template */
  constructor(box) {
    this.box = box;
    this.voice = box.querySelector("[role=status]");
    this.list = box.querySelector("ul");
    this.template = box.querySelector("template");
    this.shown = new Map(); // keys to { element, left }, oldest first
    this.muted = new Set(); // keys of dismissed messages with progress
    this.beat = null;
    this.origin = null; // the element that had the focus before
    const moved = new MutationObserver(() => this.#move());
    moved.observe(document.body, { subtree: true, attributes: true, attributeFilter: ["open"] });
    this.list.addEventListener("keydown", (event) => this.#key(event));
    this.list.addEventListener("focusin", ({ relatedTarget }) => this.#entered(relatedTarget));
    this.#move();
  }

  /** Announce a text to screen readers only, since the page shows it already. */
  say(sentence) {
    this.voice.textContent = sentence;
  }

  /** @param {Options} options */
  show(text, options = {}) {
    this.say(text);
    this.muted.delete(options.key);
    this.update(text, options);
  }

  /** The same without an announcement, for messages that change every second. @param {Options} options */
  update(text, { key = text, trouble = false, action = null, other = null, lasting = false, progress = null } = {}) {
    if (this.muted.has(key) && !lasting) return;
    const message = this.shown.get(key) ?? this.#add(key);
    const part = (selector) => message.element.querySelector(selector);
    part("p").textContent = text;
    message.element.classList.toggle("warning", trouble);
    for (const [index, button] of message.element.querySelectorAll(".act").entries()) name(button, [action, other][index]);
    part(".dismiss").hidden = lasting;
    part("progress").hidden = progress === null;
    part("progress").value = progress ?? 0;
    message.left = progress === null ? SHORTEST + READING * text.length + (action ? WITH_ACTION : 0) : Infinity;
  }

  close(key) {
    this.muted.delete(key);
    const message = this.shown.get(key);
    if (!message) return;
    this.shown.delete(key);
    if (message.element.contains(document.activeElement)) this.origin?.focus({ preventScroll: true });
    message.element.remove();
    if (this.shown.size > 0) return;
    clearInterval(this.beat);
    this.beat = null;
  }

  #add(key) {
    const element = this.template.content.firstElementChild.cloneNode(true);
    element.querySelector(".dismiss").onclick = () => this.#dismiss(key);
    const message = { element, left: 0 };
    this.shown.set(key, message);
    this.list.append(element);
    const passing = [...this.shown].filter(([, { left }]) => left !== Infinity);
    if (this.shown.size > MAX_SHOWN && passing.length > 1) this.close(passing[0][0]);
    this.beat ??= setInterval(() => this.#pass(), TICK);
    return message;
  }

  /** The time stops while the pointer or the focus is on the messages, or the page is hidden. */
  #pass() {
    if (document.hidden || this.list.matches(":hover, :focus-within")) return;
    for (const [key, message] of [...this.shown]) {
      message.left -= TICK;
      if (message.left <= 0) this.close(key);
    }
  }

  #dismiss(key) {
    const { element, left } = this.shown.get(key);
    if (element.querySelector(".dismiss").hidden) return;
    this.close(key);
    if (left === Infinity) this.muted.add(key);
  }

  #key(event) {
    if (event.key !== "Escape") return;
    event.preventDefault(); // and not the dialog around it
    const [key] = [...this.shown].find(([, { element }]) => element.contains(event.target));
    this.#dismiss(key);
  }

  #entered(from) {
    if (from && !this.list.contains(from)) this.origin = from;
  }

  /** A modal dialog makes everything outside of it inert. */
  #move() {
    const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
    if (this.box.parentElement !== host) host.append(this.box);
  }
}

function name(button, action) {
  button.hidden = action === null;
  button.textContent = action?.label ?? "";
  button.onclick = () => action.run();
}
