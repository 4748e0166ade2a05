/** The wait before the next attempt: doubled each time, and never shorter than the server's `Retry-After`. */

const FIRST_MS = 1500;
const MAX_MS = 60_000;

export class Backoff {
  /** Attempts that have failed since the last success. */
  failures = 0;

  /**
   * @param {number} retryAfter seconds; 0 without a `Retry-After`
   * @returns {number} ms
   */
  next(retryAfter = 0) {
    const own = Math.min(MAX_MS, FIRST_MS * 2 ** this.failures) * (0.75 + Math.random() / 2); // not all clients at once
    this.failures += 1;
    return Math.max(own, retryAfter * 1000);
  }

  reset() {
    this.failures = 0;
  }
}
