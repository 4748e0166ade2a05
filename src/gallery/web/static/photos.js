/** Photos that did not load: each says so, and is asked for again when the server is back. */

import { refusal } from "./api.js";
import { Backoff } from "./backoff.js";

const MOST = 3; // times that a photo may fail although the server has it
const PASSING = [0, 401, 408, 429, 500, 502, 503, 504];

export class Photos {
  /** @param {(waiting: boolean) => void} onWaiting whether the server refuses */
  constructor(onWaiting) {
    this.onWaiting = onWaiting;
    this.broken = new Map(); // elements to how often the server had them, and they failed all the same
    this.backoff = new Backoff();
    this.timer = null;
  }

  /** `load` and `error` do not bubble, but they can be captured. */
  watch(root) {
    root.addEventListener("error", ({ target }) => target.matches?.(".photo") && this.#failed(target), true);
    root.addEventListener("load", ({ target }) => target.matches?.(".photo") && this.#loaded(target), true);
  }

  #failed(photo) {
    this.#mark(photo, "broken");
    if (!this.broken.has(photo)) this.broken.set(photo, 0);
    this.timer ??= setTimeout(() => this.#ask(), 0);
  }

  #loaded(photo) {
    this.#mark(photo, null);
    this.broken.delete(photo);
  }

  /** One question for all of them. */
  async #ask() {
    for (const photo of this.broken.keys()) if (!photo.isConnected) this.broken.delete(photo);
    const [photo] = this.broken.keys();
    const { status, retryAfter } = photo ? await refusal(photo.currentSrc || photo.src) : { status: 200, retryAfter: 0 };
    const refused = PASSING.includes(status);
    this.onWaiting(refused);
    this.timer = null;
    if (status === 200) this.#again();
    else if (!refused) this.#giveUp(photo);
    if (this.broken.size > 0) this.timer = setTimeout(() => this.#ask(), this.backoff.next(retryAfter));
    else this.backoff.reset();
  }

  #again() {
    for (const [photo, times] of this.broken) {
      if (times === MOST) {
        this.#giveUp(photo);
        continue;
      }
      this.broken.set(photo, times + 1);
      photo.src = photo.src; // the browser chooses and loads anew
    }
  }

  #giveUp(photo) {
    this.broken.delete(photo);
    this.#mark(photo, "lost");
  }

  #mark(photo, state) {
    const frame = photo.closest(".tile, .frame");
    if (!frame) return;
    if (state) frame.dataset.photo = state;
    else delete frame.dataset.photo;
  }
}
