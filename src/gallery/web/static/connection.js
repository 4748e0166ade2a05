/** The indicator in the bar: whether the notifications are connected, and whether the server accepts requests. */

const LABELS = { live: "Live", lost: "Reconnecting…", waiting: "Waiting for the server" };

export class Connection {
  #connected = false;
  #waiting = new Set();

  /** @param {HTMLElement} indicator */
  constructor(indicator) {
    this.indicator = indicator;
  }

  /** Whether the stream of notifications is open. */
  connected(is) {
    this.#connected = is;
    this.#show();
  }

  /** Whether `part` of the page waits for a server that refuses. */
  waits(part, is) {
    if (is) this.#waiting.add(part);
    else this.#waiting.delete(part);
    this.#show();
  }

  #show() {
    const state = !this.#connected ? "lost" : this.#waiting.size > 0 ? "waiting" : "live";
    this.indicator.dataset.state = state;
    this.indicator.textContent = this.indicator.title = LABELS[state];
  }
}
