/** How long to wait before the next attempt: twice as long each time, and never less than the server's `Retry-After`. */

const FIRST = 1500; // ms
const LONGEST = 60_000; // ms

export class Backoff {
  /** Attempts that have failed since the last success. */
  failures = 0;

  /**
   * @param {number} retryAfter seconds, 0 where the server has not said
   * @returns {number} ms
   */
  next(retryAfter = 0) {
    const own = Math.min(LONGEST, FIRST * 2 ** this.failures) * (0.75 + Math.random() / 2); // not all clients at once
    this.failures += 1;
    return Math.max(own, retryAfter * 1000);
  }

  reset() {
    this.failures = 0;
  }
}
