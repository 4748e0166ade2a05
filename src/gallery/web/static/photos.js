/** Photos that did not load: each shows it, and is loaded again when the server is available. */

import { refusal } from "./api.js";
import { Backoff } from "./backoff.js";

const MAX_ATTEMPTS = 3; // of a photo that the server has but the browser does not load
const PASSING = [0, 401, 408, 429, 500, 502, 503, 504];

export class Photos {
  /** @param {(waiting: boolean) => void} onWaiting whether the server refuses */
  constructor(onWaiting) {
    this.onWaiting = onWaiting;
    this.broken = new Map(); // elements to their attempts, those while the server had the photo
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

  /** One request for all broken photos: whether the server has the first of them. */
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
      if (times === MAX_ATTEMPTS) {
        this.#giveUp(photo);
        continue;
      }
      this.broken.set(photo, times + 1);
      photo.src = photo.src; // makes the browser load it again
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
