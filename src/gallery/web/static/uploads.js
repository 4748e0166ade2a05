/** Files on their way in: chosen, dropped or pasted; three at a time, each on a tile of its own. */

import { upload } from "./api.js";

/** @typedef {import("./wall.js").Wall} Wall */
/** @typedef {import("./tile.js").Tile} Tile */

const AT_ONCE = 3;
const PATIENCE = 5; // times that we come back by ourselves when the server says when
const MIB = 1024 * 1024;

export class Uploads {
  /**
   * @param {Wall} wall
   * @param {(sentence: string) => void} say
   * @param {number} maxBytes of a file
   */
  constructor(wall, say, maxBytes) {
    this.wall = wall;
    this.say = say;
    this.maxBytes = maxBytes;
    this.waiting = [];
    this.running = new Set();
    this.sent = new Set(); // promises of answers to what the server has whole
  }

  /** @param {Iterable<File>} files */
  add(files) {
    const jobs = [...files].map((file) => ({ file, tile: this.wall.begin(file), tries: 0, dropped: false, abort: () => {} }));
    if (jobs.length === 0) return;
    this.say(jobs.length === 1 ? `Uploading ${jobs[0].file.name}.` : `Uploading ${jobs.length} photos.`);
    for (const job of jobs) this.#queue(job);
  }

  get busy() {
    return this.waiting.length + this.running.size > 0;
  }

  /** When the answers are here whose images the notifications may tell of first. */
  async answered() {
    await Promise.allSettled(this.sent);
  }

  #queue(job) {
    if (job.dropped) return;
    job.tile.wait();
    job.tile.dismiss.onclick = () => this.#drop(job);
    if (job.file.size > this.maxBytes) {
      this.#fail(job, `The file is larger than ${Math.floor(this.maxBytes / MIB)} MiB, the most we accept.`, false);
      return;
    }
    this.waiting.push(job);
    this.#next();
  }

  #next() {
    while (this.waiting.length > 0 && this.running.size < AT_ONCE) this.#run(this.waiting.shift());
  }

  async #run(job) {
    this.running.add(job);
    const { sent, answer, abort } = upload(job.file, (part) => job.tile.progress(part));
    job.abort = abort;
    sent.then(() => this.sent.add(answer));
    try {
      const { image, created } = await answer;
      this.#arrived(job, image, created);
    } catch (problem) {
      this.#refused(job, problem);
    } finally {
      this.sent.delete(answer);
      this.running.delete(job);
      this.#next();
    }
  }

  #arrived(job, image, created) {
    this.wall.adopt(job.tile, image);
    if (created) return;
    this.say(`${image.title} is here already.`);
    this.wall.point(image.id);
  }

  #refused(job, problem) {
    if (problem.status === -1) return; // dropped
    if (problem.retryAfter > 0 && job.tries < PATIENCE) {
      job.tries += 1;
      job.tile.wait();
      setTimeout(() => this.#queue(job), problem.retryAfter * 1000);
      return;
    }
    this.#fail(job, problem.message, problem.passing === true);
  }

  #fail(job, sentence, passing) {
    this.say(`${job.file.name}: ${sentence}`);
    job.tile.fail(sentence, passing ? () => this.#queue(job) : null, () => this.#drop(job));
  }

  #drop(job) {
    this.waiting = this.waiting.filter((other) => other !== job);
    job.dropped = true;
    job.abort();
    job.tile.remove();
  }
}

/**
 * Photos may be dropped and pasted anywhere on the page.
 *
 * @param {(files: File[]) => void} take
 */
export function receive(take) {
  const body = document.body;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let leaving = 0;
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    clearTimeout(leaving);
    body.classList.add("dropping");
    leaving = setTimeout(() => body.classList.remove("dropping"), 300); // dragover comes again and again until then
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    body.classList.remove("dropping");
    take([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) take([...event.clipboardData.files].map(named));
  });
}

/** What is pasted has no name of its own: browsers call it image.png. */
function named(file) {
  const moment = new Date().toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return new File([file], file.name.replace(/^image(?=\.\w+$)/, `Pasted ${moment.replace(/[:/\\]/g, ".")}`), { type: file.type });
}
