/**
 * Large files by tus (https://tus.io), in slices: neither a pause nor a lost connection nor a reload costs a byte that has arrived.
 *
 * A file's SHA-256 is not sent: browsers compute it only from a whole file in memory.
 */

import { Problem, ask, image, local } from "./api.js";
import { send } from "./sending.js";
import { fingerprint, forget, keep } from "./unfinished.js";

/** @typedef {import("./sending.js").Sending} Sending */
/** @typedef {import("./unfinished.js").Entry} Entry */
/** @typedef {{offset: number, image: ?string, created: boolean}} State */

const MIB = 1024 * 1024;
const UPLOADS = "/api/v1/uploads";
const VERSION = { "Tus-Resumable": "1.0.0" };
const SLICE = 16 * MIB; // of one request; a multiple of the server's parts
const BUSY_MS = 1000; // to wait for an earlier request that still has the upload
const MAX_DISPUTES = 20; // times that one attempt may find another offset, or another request
const STALLED_MS = 60_000; // without a byte sent, the connection is taken for dead

export const LARGE = 8 * MIB; // files from this size on are sent this way

export class Resumable {
  #disputes = 0;
  #release = () => {};

  /**
   * @param {File} file
   * @param {?Entry} known an upload of this file that has begun before
   */
  constructor(file, known = null) {
    this.file = file;
    this.known = known;
    this.url = null;
    this.key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /**
   * One attempt: asks how much the server has, and sends the rest.
   *
   * @param {(bytes: number) => void} onProgress
   * @param {() => void} onAccepted the server has acknowledged more
   * @returns {Sending}
   */
  run(onProgress, onAccepted) {
    const stop = new AbortController();
    let allSent;
    const sent = new Promise((resolve) => (allSent = resolve));
    const answer = this.#finish({ onProgress, onAccepted, allSent, signal: stop.signal }).finally(allSent);
    return { sent, answer, abort: () => stop.abort() };
  }

  /** What has arrived is removed on the server; without an answer it goes there after a day. */
  async cancel() {
    const { url } = this;
    this.#end();
    if (url) await ask("DELETE", url, VERSION).catch(() => {});
  }

  async #finish(attempt) {
    this.#disputes = 0;
    try {
      let state = await this.#begin(attempt);
      while (!state.image) {
        attempt.signal.throwIfAborted();
        attempt.onProgress(state.offset);
        state = await this.#slice(state.offset, attempt);
        attempt.onAccepted();
      }
      const answer = { image: await image(state.image), created: state.created };
      this.#end();
      return answer;
    } catch (problem) {
      if (attempt.signal.aborted) throw new Problem(-1, null);
      if (isFinal(problem)) this.#end();
      throw problem;
    }
  }

  /** @returns {Promise<State>} of the upload that has begun, or of a new one */
  async #begin(attempt) {
    if (this.known) await this.#recognize();
    if (this.url) {
      try {
        return await this.#ask(attempt);
      } catch (problem) {
        if (problem.status !== 404) throw problem;
        this.#end(); // it has expired
      }
    }
    const headers = { ...VERSION, "Upload-Length": this.file.size, "Upload-Metadata": this.#metadata() };
    const response = await ask("POST", UPLOADS, headers, undefined, attempt.signal);
    await this.#own(local(response.headers.get("location")));
    return read(response.headers);
  }

  /** A file of the same name, size and time may be another one. */
  async #recognize() {
    const { url, ...expected } = this.known;
    this.known = null;
    if (expected.fingerprint === (await fingerprint(this.file))) await this.#own(url);
    else forget(url);
  }

  async #own(url) {
    this.url = url;
    this.#release = await keep(url, this.file);
  }

  #end() {
    if (this.url) forget(this.url);
    this.url = null;
    this.#release();
  }

  #metadata() {
    return `filename ${base64(this.file.name)},idempotencyKey ${base64(this.key)}`;
  }

  /** @returns {Promise<State>} `GET` says more than `HEAD`: also why an upload was refused. */
  async #ask({ signal }) {
    return read((await ask("GET", this.url, VERSION, undefined, signal)).headers);
  }

  /** @returns {Promise<State>} after the next slice, or as it is when something stood in the way */
  async #slice(offset, attempt) {
    const end = Math.min(this.file.size, (Math.floor(offset / SLICE) + 1) * SLICE);
    const headers = { ...VERSION, "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset };
    const watch = new Watch();
    const request = send("PATCH", this.url, headers, this.file.slice(offset, end), (bytes) => {
      watch.moved();
      attempt.onProgress(Math.min(offset + bytes, end));
    });
    watch.stalled = attempt.signal.onabort = request.abort;
    request.sent.then(() => {
      watch.end();
      if (end === this.file.size) attempt.allSent();
    });
    try {
      return read(await request.answer);
    } catch (problem) {
      if (watch.isStalled) throw new Problem(0, null);
      if (!isDisputed(problem) || ++this.#disputes > MAX_DISPUTES) throw problem;
      if (problem.status === 423) await pause(problem.retryAfter * 1000 || BUSY_MS, attempt.signal);
      return this.#ask(attempt);
    } finally {
      attempt.signal.onabort = null;
    }
  }
}

/** Ends a request of which no byte has been sent for a while: the network does not always tell. */
class Watch {
  stalled = () => {};
  isStalled = false;
  #timer = null;

  constructor() {
    this.moved();
  }

  moved() {
    this.end();
    this.#timer = setTimeout(() => {
      this.isStalled = true;
      this.stalled();
    }, STALLED_MS);
  }

  end() {
    clearTimeout(this.#timer);
  }
}

/** @param {{getResponseHeader: Function} | Headers} from @returns {State} */
function read(from) {
  const header = (name) => (from instanceof Headers ? from.get(name) : from.getResponseHeader(name));
  return { offset: Number(header("upload-offset")), image: header("gallery-image"), created: header("gallery-duplicate") === null };
}

/** Whether another request has the upload, or has brought it further. */
function isDisputed({ status, code }) {
  return status === 423 || (status === 409 && code === "offset_mismatch");
}

/** Whether the upload was refused for good. */
function isFinal(problem) {
  return problem.status >= 400 && problem.status < 500 && problem.status !== 401 && !problem.passing && !isDisputed(problem);
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.onabort = () => (clearTimeout(timer), resolve());
  });
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
