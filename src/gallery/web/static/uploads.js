/** Uploads: three at a time, each with its own tile. All of them wait while the server refuses one. */

import { upload } from "./api.js";
import { Backoff } from "./backoff.js";
import { counted } from "./facts.js";

/** @typedef {import("./wall.js").Wall} Wall */
/** @typedef {import("./tile.js").Tile} Tile */

const AT_ONCE = 3;
const MIB = 1024 * 1024;
const STRIKES = 3; // times that an upload may get no response while others do
const FEW = 3; // up to so many files, the tiles alone show the progress

export class Uploads {
  /**
   * @param {Wall} wall
   * @param {import("./messages.js").Messages} messages
   * @param {number} maxBytes of a file
   * @param {object} on
   * @param {(is: boolean) => void} on.waiting whether the server refuses
   * @param {(ids: string[]) => void} on.show show these images
   */
  constructor(wall, messages, maxBytes, on) {
    this.wall = wall;
    this.messages = messages;
    this.maxBytes = maxBytes;
    this.on = on;
    this.backoff = new Backoff();
    this.waiting = [];
    this.running = new Set();
    this.sent = new Set(); // promises of the responses to uploads that are sent completely
    this.arrivals = 0;
    this.held = null; // { until, sentence, timer } while the server refuses
    this.#begin();
  }

  /** @param {import("./drop.js").Found} found */
  add({ files, folders, leftOut }) {
    if (!this.busy) this.#begin();
    if (folders.length > 0) this.messages.show(contents(files.length, folders, leftOut), { trouble: files.length === 0 });
    const jobs = files.map((file) => ({ file, tile: this.wall.begin(file), dropped: false, strikes: 0, abort: () => {} }));
    if (jobs.length === 0) return;
    this.batch.all += jobs.length;
    if (folders.length === 0) this.messages.say(`Uploading ${jobs.length === 1 ? jobs[0].file.name : counted(jobs.length, "file")}.`);
    for (const job of jobs) this.#queue(job);
  }

  get busy() {
    return this.waiting.length + this.running.size > 0;
  }

  /** Resolves after the responses to complete uploads: notifications may name their images earlier. */
  async answered() {
    await Promise.allSettled(this.sent);
  }

  /** Messages are about one batch: all files that are added until no upload is left. */
  #begin() {
    this.batch = { all: 0, settled: 0, known: [], failed: [], over: false };
  }

  #queue(job) {
    if (job.dropped) return;
    job.tile.wait();
    job.tile.dismiss.onclick = () => this.#drop(job);
    if (job.file.size > this.maxBytes) {
      this.#fail(job, `The file is larger than ${Math.floor(this.maxBytes / MIB)} MiB, which is the limit.`);
      return;
    }
    this.batch.over = false;
    this.waiting.push(job);
    this.#next();
  }

  #next() {
    const most = this.backoff.failures > 0 ? 1 : AT_ONCE; // one upload tests whether the server accepts again
    while (this.waiting.length > 0 && this.running.size < most && !this.held) this.#run(this.waiting.shift());
    this.#tell();
  }

  async #run(job) {
    this.running.add(job);
    const { sent, answer, abort } = upload(job.file, (part) => job.tile.progress(part));
    job.abort = abort;
    job.tile.progress(0);
    sent.then(() => this.sent.add(answer));
    try {
      const { image, created } = await answer;
      this.#arrived(job, image, created);
    } catch (problem) {
      await this.#refused(job, problem);
    } finally {
      this.sent.delete(answer);
      this.running.delete(job);
      this.#next();
    }
  }

  #arrived(job, image, created) {
    if (!this.held) {
      this.backoff.reset();
      this.on.waiting(false);
    }
    this.arrivals += 1;
    this.batch.settled += 1;
    this.wall.adopt(job.tile, image);
    if (created) return;
    const { known, all } = this.batch;
    known.push(image.id);
    const text = all === 1 ? `${image.title} is here already.` : `${known.length} of ${all} ${known.length === 1 ? "is" : "are"} here already.`;
    this.messages.show(text, { key: "known", action: { label: "Show", run: () => this.on.show(known) } });
  }

  async #refused(job, problem) {
    const unanswered = problem.status === 0;
    const unread = unanswered && !(await readable(job.file));
    if (job.dropped) return;
    if (unread) this.#fail(job, "The file can no longer be read.");
    else if (problem.passing && !(unanswered && this.#isHopeless(job))) this.#hold(job, problem);
    else this.#fail(job, problem.message, problem.passing || problem.status >= 500 || problem.status === 401);
  }

  /** Whether the upload repeatedly gets no response while others succeed. */
  #isHopeless(job) {
    if (job.arrivals < this.arrivals) job.strikes += 1;
    job.arrivals = this.arrivals;
    return job.strikes >= STRIKES;
  }

  #hold(job, problem) {
    this.waiting.push(job); // at the end: this file may be the cause
    job.tile.hold();
    if (this.held) return;
    const until = Date.now() + this.backoff.next(problem.retryAfter);
    this.held = { until, sentence: problem.message, timer: setInterval(() => this.#count(), 500) };
    if (this.backoff.failures === 1) this.messages.say(`${problem.message} The upload waits for the server.`);
    this.on.waiting(true);
  }

  #count() {
    if (Date.now() < this.held.until) this.#tell();
    else this.#release();
  }

  #release() {
    if (!this.held) return;
    clearInterval(this.held.timer);
    this.held = null;
    this.#next();
  }

  /** Show the progress of all uploads, if they are many or wait. */
  #tell() {
    const { all, settled, failed } = this.batch;
    const progress = (settled + failed.length) / all;
    if (!this.busy) this.#end();
    else if (this.held) {
      const seconds = Math.max(1, Math.ceil((this.held.until - Date.now()) / 1000));
      const text = `${this.held.sentence} ${counted(this.waiting.length, "upload waits", "uploads wait")} for the server; next attempt in ${seconds} s.`;
      const action = { label: "Try now", run: () => this.#release() };
      this.messages.update(text, { key: "uploads", trouble: true, progress, action });
    } else if (all > FEW || this.backoff.failures > 0) {
      const action = { label: "Cancel the rest", run: () => this.#cancel() };
      this.messages.update(`${settled} of ${all} uploaded`, { key: "uploads", progress, action });
    }
  }

  #end() {
    if (this.batch.over) return;
    this.batch.over = true;
    this.on.waiting(false);
    const { all, settled } = this.batch;
    if (all > FEW) this.messages.show(`${settled} of ${all} uploaded.`, { key: "uploads" });
    else this.messages.close("uploads");
  }

  #fail(job, sentence, again = false) {
    this.batch.failed.push(job);
    job.tile.fail(sentence, again ? () => this.#retry(job) : null, () => this.#drop(job));
    const { all, failed } = this.batch;
    const text = all === 1 ? `${job.file.name}: ${sentence}` : `${failed.length} of ${all} ${failed.length === 1 ? "was" : "were"} not uploaded.`;
    const run = () => this.wall.pointAt(failed.map(({ tile }) => tile.element));
    this.messages.show(text, { key: "failed", trouble: true, action: { label: "Show", run } });
  }

  #retry(job) {
    job.strikes = 0;
    this.batch.failed = this.batch.failed.filter((other) => other !== job);
    this.#queue(job);
  }

  #cancel() {
    for (const job of [...this.waiting, ...this.running]) this.#drop(job);
    this.messages.say("The other uploads are cancelled.");
  }

  #drop(job) {
    this.waiting = this.waiting.filter((other) => other !== job);
    this.batch.all -= 1;
    this.batch.failed = this.batch.failed.filter((other) => other !== job);
    job.dropped = true;
    job.abort();
    job.tile.remove();
    if (this.held && this.waiting.length === 0) this.#release();
    else this.#tell();
  }
}

/** Whether the file was deleted or changed: its upload fails in the same way as without a network. */
async function readable(file) {
  return file.slice(0, 1).arrayBuffer().then(() => true, () => false);
}

function contents(number, folders, leftOut) {
  const name = folders.length === 1 ? `“${folders[0]}”` : counted(folders.length, "folder");
  const others = leftOut > 0 ? ` ${counted(leftOut, "other file is", "other files are")} left out.` : "";
  return number === 0 ? `There are no pictures in ${name}.${others}` : `${counted(number, "picture")} from ${name}.${others}`;
}
