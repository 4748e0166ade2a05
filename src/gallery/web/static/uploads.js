/** Uploads: three at a time, each with its own tile. All of them wait while the server refuses one. */

import { Backoff } from "./backoff.js";
import { Batch } from "./batch.js";
import { counted } from "./facts.js";
import { LARGE, Resumable } from "./resumable.js";
import { upload } from "./sending.js";

/** @typedef {import("./wall.js").Wall} Wall */
/** @typedef {import("./tile.js").Tile} Tile */

const AT_ONCE = 3;
const MIB = 1024 * 1024;
const STRIKES = 3; // times that an upload may get no response while others do
const MAX_TILES = 60; // of waiting uploads: thousands would freeze the page
const BEAT_MS = 500;

export class Uploads {
  /**
   * @param {Wall} wall
   * @param {import("./messages.js").Messages} messages
   * @param {import("./leftovers.js").Leftovers} leftovers
   * @param {number} maxBytes of a file
   * @param {object} on
   * @param {(is: boolean) => void} on.waiting whether the server refuses
   * @param {(ids: string[]) => void} on.show show these images
   */
  constructor(wall, messages, leftovers, maxBytes, on) {
    this.wall = wall;
    this.messages = messages;
    this.leftovers = leftovers;
    this.maxBytes = maxBytes;
    this.on = on;
    this.backoff = new Backoff();
    this.waiting = [];
    this.running = new Set();
    this.paused = new Set();
    this.sent = new Set(); // promises of the responses to uploads that are sent completely
    this.arrivals = 0;
    this.held = null; // { until, sentence } while the server refuses
    this.timer = null;
    this.batch = new Batch();
    addEventListener("online", () => this.#release());
  }

  /** @param {import("./drop.js").Found} found */
  add({ files, folders, leftOut }) {
    if (!this.busy) this.batch = new Batch();
    if (folders.length > 0) this.messages.show(contents(files.length, folders, leftOut), { trouble: files.length === 0 });
    const jobs = files.map((file) => this.#job(file));
    if (jobs.length === 0) return;
    for (const job of jobs) this.batch.jobs.add(job);
    if (folders.length === 0) this.messages.say(`Uploading ${jobs.length === 1 ? jobs[0].file.name : counted(jobs.length, "file")}.`);
    for (const job of jobs) this.#queue(job);
    this.#next();
  }

  get busy() {
    return this.waiting.length + this.running.size + this.paused.size > 0;
  }

  /** Whether leaving the page would break something off; a paused upload goes on another time. */
  get sending() {
    return this.running.size > 0 || this.held !== null;
  }

  /** Resolves after the responses to complete uploads: notifications may name their images earlier. */
  async answered() {
    await Promise.allSettled(this.sent);
  }

  #job(file) {
    const known = this.leftovers.take(file);
    const resumable = file.size >= LARGE ? new Resumable(file, known?.entry) : null;
    known?.tile.preview(file);
    return { file, resumable, tile: known?.tile ?? null, sent: 0, strikes: 0, arrivals: 0, dropped: false, ended: null, abort: () => {} };
  }

  #queue(job) {
    if (job.file.size > this.maxBytes) {
      this.#fail(job, `The file is larger than ${Math.floor(this.maxBytes / MIB)} MiB, which is the limit.`);
      return;
    }
    this.batch.over = false;
    this.waiting.push(job);
    if (this.waiting.length <= MAX_TILES || job.tile) this.#hang(job);
  }

  /** The job's tile, as that of an upload that waits for others. */
  #hang(job) {
    job.tile ??= this.wall.begin(job.file);
    job.tile.wait(job.sent / Math.max(1, job.file.size));
    job.tile.dismiss.onclick = () => this.#drop(job);
    if (job.resumable) job.tile.pausable(() => this.#pause([job]));
  }

  #next() {
    const most = this.backoff.failures > 0 ? 1 : AT_ONCE; // one upload tests whether the server accepts again
    while (this.waiting.length > 0 && this.running.size < most && !this.held) {
      const job = this.waiting.shift();
      job.ended = this.#run(job);
      const last = this.waiting[MAX_TILES - 1];
      if (last && !last.tile) this.#hang(last);
    }
    this.timer ??= setInterval(() => this.#beat(), BEAT_MS);
    this.#tell();
  }

  async #run(job) {
    this.running.add(job);
    if (!job.tile) this.#hang(job);
    const show = (bytes) => {
      job.sent = bytes;
      job.tile.progress(bytes / Math.max(1, job.file.size));
    };
    const { sent, answer, abort } = job.resumable ? job.resumable.run(show, () => this.#accepted(job)) : upload(job.file, show);
    job.abort = abort;
    show(job.sent);
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

  /** The server takes bytes, if not yet the whole file. */
  #accepted(job) {
    job.strikes = 0;
    if (this.held || this.backoff.failures === 0) return;
    this.backoff.reset();
    this.on.waiting(false);
    this.#next();
  }

  #arrived(job, image, created) {
    this.#accepted(job);
    this.arrivals += 1;
    this.batch.settled += 1;
    job.sent = job.file.size;
    this.wall.adopt(job.tile, image);
    if (created) return;
    const { known, all } = this.batch;
    known.push(image.id);
    const text = all === 1 ? `${image.title} is here already.` : `${known.length} of ${all} ${known.length === 1 ? "is" : "are"} here already.`;
    this.messages.show(text, { key: "known", action: { label: "Show", run: () => this.on.show(known) } });
  }

  async #refused(job, problem) {
    if (problem.status === -1) return; // cancelled or paused
    const unanswered = problem.status === 0;
    const unread = unanswered && !(await readable(job.file));
    if (job.dropped || this.paused.has(job)) return;
    if (unread) this.#fail(job, "The file can no longer be read.");
    else if (problem.passing && !(unanswered && this.#isHopeless(job))) this.#hold(job, problem);
    else this.#fail(job, problem.message, problem.passing || problem.status >= 500 || [401, 409, 423].includes(problem.status));
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
    this.batch.rest();
    if (this.held) return;
    this.held = { until: Date.now() + this.backoff.next(problem.retryAfter), sentence: problem.message };
    if (this.backoff.failures === 1) this.messages.say(`${problem.message} The upload waits for the server.`);
    this.on.waiting(true);
  }

  #release() {
    if (!this.held) return;
    this.held = null;
    this.#next();
  }

  #beat() {
    if (this.held && Date.now() >= this.held.until) this.#release();
    else this.#tell();
  }

  /** Show the progress of all uploads, if they are many or large, or wait. */
  #tell() {
    if (!this.busy) {
      this.#end();
      return;
    }
    const { batch } = this;
    const common = { key: "uploads", progress: batch.progress };
    const cancel = { label: batch.all === 1 ? "Cancel" : "Cancel the rest", run: () => this.#cancel() };
    if (this.held) {
      const seconds = Math.max(1, Math.ceil((this.held.until - Date.now()) / 1000));
      const text = `${this.held.sentence} ${counted(this.waiting.length, "upload waits", "uploads wait")} for the server; next attempt in ${seconds} s.`;
      this.messages.update(text, { ...common, trouble: true, action: { label: "Try now", run: () => this.#release() } });
    } else if (this.running.size + this.waiting.length === 0) {
      const resume = { label: "Resume", run: () => this.#resume([...this.paused]) };
      this.messages.update(`Paused · ${batch.describe()}`, { ...common, lasting: true, action: resume, other: cancel });
    } else if (batch.isLong || this.backoff.failures > 0) {
      batch.measure(Date.now());
      const pause = { label: "Pause", run: () => this.#pauseAll() };
      this.messages.update(batch.describe(), { ...common, action: pause, other: cancel });
    }
  }

  #end() {
    clearInterval(this.timer);
    this.timer = null;
    if (this.batch.over) return;
    this.batch.over = true;
    this.on.waiting(false);
    const { all, settled, isLong } = this.batch;
    if (isLong && all > 1 && settled > 0) this.messages.show(`${settled.toLocaleString()} of ${all.toLocaleString()} uploaded.`, { key: "uploads" });
    else this.messages.close("uploads");
  }

  #fail(job, sentence, again = false) {
    this.batch.failed.push(job);
    job.tile ??= this.wall.begin(job.file);
    job.tile.fail(sentence, again ? () => this.#retry(job) : null, () => this.#drop(job));
    const { all, failed } = this.batch;
    const text = all === 1 ? `${job.file.name}: ${sentence}` : `${failed.length} of ${all} ${failed.length === 1 ? "was" : "were"} not uploaded.`;
    const run = () => this.wall.pointAt(failed.map(({ tile }) => tile.element));
    this.messages.show(text, { key: "failed", trouble: true, action: { label: "Show", run } });
  }

  #retry(job) {
    job.strikes = 0;
    this.batch.failed = this.batch.failed.filter((other) => other !== job);
    this.batch.jobs.add(job);
    this.#queue(job);
    this.#next();
  }

  /** Small files that are being sent are not broken off. */
  #pauseAll() {
    this.#pause([...this.waiting, ...[...this.running].filter(({ resumable }) => resumable)]);
    this.messages.say("The uploads are paused.");
  }

  #pause(jobs) {
    const chosen = new Set(jobs);
    this.waiting = this.waiting.filter((job) => !chosen.has(job));
    for (const job of chosen) {
      this.paused.add(job);
      job.abort();
      job.tile?.paused(() => this.#resume([job]));
    }
    this.batch.rest();
    this.#afterRemoval();
  }

  async #resume(jobs) {
    await Promise.all(jobs.map(({ ended }) => ended));
    for (const job of jobs) if (this.paused.delete(job)) this.#queue(job);
    this.#next();
  }

  #cancel() {
    const rest = [...this.waiting, ...this.running, ...this.paused];
    this.waiting = [];
    for (const job of rest) this.#remove(job);
    this.#afterRemoval();
    this.messages.say("The other uploads are cancelled.");
  }

  #drop(job) {
    this.#remove(job);
    this.#afterRemoval();
  }

  #remove(job) {
    this.waiting = this.waiting.filter((other) => other !== job);
    this.paused.delete(job);
    this.batch.jobs.delete(job);
    this.batch.failed = this.batch.failed.filter((other) => other !== job);
    job.dropped = true;
    job.abort();
    job.resumable?.cancel();
    job.tile?.remove();
  }

  #afterRemoval() {
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
