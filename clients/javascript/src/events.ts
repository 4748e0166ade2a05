/**
 * Follows the changes of images by server-sent events. Read by `fetch`, not by `EventSource`, which can send no credential,
 * tells no status, gives up for good at a refusal, and is missing in Node and on edge runtimes.
 */

import { GalleryError, GalleryUnavailable, notUnderstood } from "./errors.js";
import { EventStream } from "./event_stream.js";
import { asItIs, type Http, unavailable } from "./http.js";
import { type Retries, sleep } from "./retries.js";
import type { EventOptions, GalleryEvent } from "./types.js";

/** Milliseconds: of silence, after which a connection is dead, and between two looks at the clock. */
export interface Timing {
  silence: number;
  look: number;
}

const TIMING: Timing = { silence: 35_000, look: 5000 }; // a quiet stream has a heartbeat at least every 15 seconds

export type Events = AsyncGenerator<GalleryEvent, void, undefined>;

/**
 * Each event once and in order, until it is left or the signal ends it. Throws `GalleryError` if the server refuses, or
 * if there was no connection at all for as long as calls are tried again; later breaks are mended for ever.
 */
export function followEvents(
  http: Http,
  options: EventOptions = {},
  onEvent: (event: GalleryEvent) => void = () => {},
  timing: Timing = TIMING,
): Events {
  const leaving = new AbortController();
  const events = follow(new Follower(http, options, leaving.signal, timing), leaving, options.signal, onEvent);
  const leave = events.return.bind(events);
  events.return = (value) => {
    leaving.abort(); // or it would wait for the next event
    return leave(value);
  };
  return events;
}

async function* follow(
  follower: Follower,
  leaving: AbortController,
  signal: AbortSignal | undefined,
  onEvent: (event: GalleryEvent) => void,
): Events {
  const stop = () => leaving.abort();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  try {
    while (!leaving.signal.aborted) {
      try {
        for await (const block of follower.blocks()) {
          const found = [...follower.stream.feed(block)];
          follower.noteOpen();
          for (const event of found) {
            onEvent(event);
            yield event;
          }
        }
        await follower.pause();
      } catch (error) {
        await follower.pause(error);
      }
    }
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
  } finally {
    stop();
    signal?.removeEventListener("abort", stop);
  }
}

/** One connection after the other. */
class Follower {
  readonly stream: EventStream;
  readonly #http: Http;
  readonly #options: EventOptions;
  readonly #leaving: AbortSignal;
  readonly #timing: Timing;
  #retries: Retries;
  #open = false;
  readonly #cut = new GalleryUnavailable("The connection is silent.");
  /** The network is back. */
  #onOnline = () => {};

  constructor(http: Http, options: EventOptions, leaving: AbortSignal, timing: Timing) {
    this.stream = new EventStream(options.lastEventId);
    this.#http = http;
    this.#options = options;
    this.#leaving = leaving;
    this.#timing = timing;
    this.#retries = http.retries({ signal: leaving });
    globalThis.window?.addEventListener?.("online", () => this.#onOnline(), { signal: leaving });
  }

  /** What comes over one connection, until its end. Throws `GalleryError`. */
  async *blocks(): AsyncGenerator<Uint8Array, void, undefined> {
    this.stream.begin();
    this.#open = false;
    const connection = new AbortController();
    const cut = () => connection.abort(this.#cut);
    const { signal } = connection;
    let quietSince: number | undefined; // by the clock, which goes on while the machine sleeps
    const look = () => {
      if (quietSince !== undefined && Math.abs(Date.now() - quietSince) > this.#timing.silence) cut();
    };
    const timer = setInterval(look, this.#timing.look);
    globalThis.document?.addEventListener("visibilitychange", look, { signal });
    this.#leaving.addEventListener("abort", cut, { signal });
    this.#onOnline = cut;
    try {
      const reader = await this.#connect(signal);
      while (true) {
        quietSince = Date.now();
        const { done, value } = await reader.read();
        quietSince = undefined; // until the caller wants more
        if (done) return;
        yield value;
      }
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof GalleryError ? error : unavailable(error);
    } finally {
      clearInterval(timer);
      connection.abort();
    }
  }

  /** After the first bytes that have told where the stream is, so that from now on nothing is lost. */
  noteOpen(): void {
    if (this.#open || this.stream.lastEventId === undefined) return;
    this.#open = true;
    this.#retries = this.#http.retries({ signal: this.#leaving, retryForMs: Number.POSITIVE_INFINITY });
    this.#options.onOpen?.();
  }

  /** Until the next connection. Throws `error` if there is no use in one. */
  async pause(error?: unknown): Promise<void> {
    if (this.#open && error === this.#cut) return; // it was ours to end
    const isBroken = this.#open && error instanceof GalleryUnavailable;
    const pause =
      error === undefined || isBroken
        ? sleep(this.stream.retryMs * (isBroken ? Math.random() : 1), this.#leaving)
        : this.#retries.pause(error);
    const online = new Promise<void>((resolve) => {
      this.#onOnline = resolve;
    });
    await Promise.race([pause, online]);
  }

  async #connect(signal: AbortSignal): Promise<ReadableStreamDefaultReader<Uint8Array>> {
    const { types = [], imageId } = this.#options;
    const query: [string, string][] = types.length ? [["types", String(types)]] : [];
    if (imageId !== undefined) query.push(["imageId", imageId]);
    const id = this.stream.lastEventId;
    const headers = { Accept: "text/event-stream", ...(id === undefined ? {} : { "Last-Event-ID": id }) };
    const call = { query, headers, signal, timeoutMs: this.#timing.silence };
    const response = await this.#http.attempt("GET", "/notifications/stream", call, asItIs);
    const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
    if (!isStream || !response.body) throw notUnderstood(response.status, response.headers);
    return response.body.getReader();
  }
}
