/** The focus of a photo, which crops keep in sight: a click on the photo sets it, and so do the arrow keys. */

/** @typedef {{x: number, y: number}} Point fractions of the width and the height */

const CENTER = { x: 0.5, y: 0.5 };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 0.01;
const LARGE_STEP = 0.1; // with Shift

export class Focus {
  /**
   * @param {(selector: string) => HTMLElement} part
   * @param {object} on
   * @param {(focus: ?Point) => void} on.save
   * @param {(sentence: string) => void} on.say to screen readers
   */
  constructor(part, { save, say }) {
    [this.frame, this.marker] = [part(".frame"), part(".marker")];
    [this.button, this.clear] = [part(".set-focus"), part(".clear-focus")];
    this.save = save;
    this.say = say;
    /** @type {?Point} */
    this.saved = null;
    /** @type {?Point} while the arrow keys move it */
    this.moving = null;
    this.frame.addEventListener("click", (event) => this.#clicked(event));
    this.marker.addEventListener("keydown", (event) => this.#key(event));
    this.marker.addEventListener("blur", () => this.#finish(this.moving));
    this.button.onclick = () => this.#begin();
    this.clear.onclick = () => this.#clear();
  }

  /** @param {?Point} focus */
  show(focus) {
    this.saved = focus ?? null;
    this.clear.hidden = this.saved === null;
    this.#draw();
  }

  #clicked({ clientX, clientY }) {
    if (!mayWrite() || !this.frame.matches(".viewer:not(.bare) .loaded")) return;
    const { left, top, width, height } = this.frame.getBoundingClientRect();
    this.save(inside((clientX - left) / width, (clientY - top) / height));
  }

  #begin() {
    this.moving = this.saved ?? CENTER;
    this.#draw();
    this.marker.focus();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || this.moving === null) return;
    if (event.key in MOVES) this.#move(MOVES[event.key], event.shiftKey ? LARGE_STEP : STEP);
    else if (event.key === "Escape") this.moving = this.saved;
    else if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault(); // Esc would close the photo
    event.stopPropagation(); // the arrows would show other photos
    if (!(event.key in MOVES)) this.button.focus();
  }

  #move([x, y], step) {
    this.moving = inside(this.moving.x + x * step, this.moving.y + y * step);
    this.#draw();
    this.say(inWords(this.moving));
  }

  #finish(moved) {
    this.moving = null;
    this.#draw();
    if (moved && (moved.x !== this.saved?.x || moved.y !== this.saved?.y)) this.save(moved);
  }

  #clear() {
    this.button.focus();
    this.save(null);
  }

  #draw() {
    const point = this.moving ?? this.saved;
    this.marker.hidden = point === null;
    if (point === null) return;
    this.marker.style.setProperty("--x", String(point.x));
    this.marker.style.setProperty("--y", String(point.y));
    this.marker.setAttribute("aria-label", `Focus: ${inWords(point)}. The arrow keys move it, Enter saves it.`);
  }
}

/** @param {Point} focus */
export function inWords({ x, y }) {
  return `${Math.round(x * 100)} % from the left, ${Math.round(y * 100)} % from the top`;
}

function mayWrite() {
  return document.body.hasAttribute("data-writes");
}

function inside(x, y) {
  const fraction = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000;
  return { x: fraction(x), y: fraction(y) };
}
