/** The sign in the bar: whether the page hears of changes, and whether the server takes and gives what it is asked. */

const WORDS = { live: "Live", lost: "Reconnecting…", waiting: "Waiting for the server" };

export class Connection {
  #connected = false;
  #waiting = new Set();

  /** @param {HTMLElement} sign */
  constructor(sign) {
    this.sign = sign;
  }

  /** Whether the notifications are heard. */
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
    this.sign.dataset.state = state;
    this.sign.textContent = this.sign.title = WORDS[state];
  }
}
