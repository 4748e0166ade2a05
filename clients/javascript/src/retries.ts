/** The pauses between the tries of one call. */

import { GalleryError } from "./errors.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 20_000;
const BUSY_MS = 600_000; // that another request may take for what only one can do at a time (423)
const BUSY = [423];

export interface RetryOptions {
  /** For how long after its first failure a call is tried again. */
  retryForMs: number;
  /** Whether a repeat is harmless when the first try was carried out. If not, only what was certainly not done is. */
  idempotent?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Statuses with which a call has ten minutes, if it is tried again at all; by default 423. */
  busy?: number[] | undefined;
}

export class Retries {
  #failingSince: number | undefined;
  #tries = 0;
  readonly #options: RetryOptions;

  constructor(options: RetryOptions) {
    this.#options = options;
  }

  /** There was progress: patience begins anew. */
  succeeded(): void {
    this.#failingSince = undefined;
    this.#tries = 0;
  }

  /** How long the next pause is: what the server asks for, and a random part, so that not all clients come at once. */
  nextPauseMs(error: GalleryError): number {
    const backoff = Math.min(FIRST_PAUSE_MS * 2 ** this.#tries, LONGEST_PAUSE_MS);
    return (error.retryAfter ?? 0) * 1000 + Math.random() * backoff;
  }

  /** Resolves when it is time for the next try; throws `error` if there is none. */
  async pause(error: unknown): Promise<void> {
    const { retryForMs, idempotent = true, signal, busy = BUSY } = this.#options;
    if (!(error instanceof GalleryError) || !error.temporary || !(idempotent || error.notDone)) throw error;
    const now = Date.now();
    this.#failingSince ??= now;
    const patience = busy.includes(error.status ?? 0) && retryForMs ? Math.max(retryForMs, BUSY_MS) : retryForMs;
    const ms = this.nextPauseMs(error);
    if (now + ms >= this.#failingSince + patience) throw error;
    this.#tries += 1;
    await sleep(ms, signal);
  }
}

/** Rejects with the signal's reason as soon as that is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
