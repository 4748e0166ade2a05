/** How far the uploads of one batch are: files, bytes, and the time that is left. */

import { bytes } from "./facts.js";

const FEW = 3; // up to so many small files, the tiles alone show the progress
const WINDOW_MS = 15_000; // over which the speed is measured
const MIN_WINDOW_MS = 3000;

/** All files that are added until no upload is left. */
export class Batch {
  constructor() {
    this.jobs = new Set();
    this.settled = 0;
    this.known = []; // ids of images that were there before
    this.failed = [];
    this.over = false;
    this.samples = []; // of the time in ms and the bytes sent
  }

  get all() {
    return this.jobs.size;
  }

  get isLong() {
    return this.all > FEW || [...this.jobs].some(({ resumable }) => resumable !== null);
  }

  /** From 0 to 1. Failed files count as done, since nothing of them is left to do. */
  get progress() {
    const failed = this.#sum(this.failed, ({ file, sent }) => file.size - sent);
    return (this.#sent + failed) / Math.max(1, this.#size);
  }

  /** After a pause the speed is measured anew. */
  rest() {
    this.samples = [];
  }

  /** @param {number} now ms */
  measure(now) {
    this.samples = [...this.samples.filter(([at]) => at > now - WINDOW_MS), [now, this.#sent]];
  }

  /** Such as "3 of 12 uploaded · 120 MB of 480 MB · about 2 min left". */
  describe() {
    const parts = [`${this.settled.toLocaleString()} of ${this.all.toLocaleString()} uploaded`];
    if (this.#size > 0) parts.push(`${bytes(this.#sent)} of ${bytes(this.#size)}`);
    const seconds = this.#secondsLeft();
    if (seconds !== null) parts.push(inWords(seconds));
    return parts.join(" · ");
  }

  /** @returns {?number} null while the speed is unknown */
  #secondsLeft() {
    const [[since, before] = [0, 0], [now, sent] = [0, 0]] = [this.samples[0], this.samples.at(-1)];
    if (now - since < MIN_WINDOW_MS || sent <= before) return null;
    const left = this.#size * (1 - this.progress);
    return (left / (sent - before)) * ((now - since) / 1000);
  }

  get #sent() {
    return this.#sum(this.jobs, ({ sent }) => sent);
  }

  get #size() {
    return this.#sum(this.jobs, ({ file }) => file.size);
  }

  #sum(jobs, of) {
    let sum = 0;
    for (const job of jobs) sum += of(job);
    return sum;
  }
}

function inWords(seconds) {
  if (seconds < 60) return "less than a minute left";
  const minutes = Math.ceil(seconds / 60);
  return minutes < 120 ? `about ${minutes} min left` : `about ${Math.round(minutes / 60)} h left`;
}
