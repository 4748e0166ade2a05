/** Sends requests with the caller's credential, and again where that helps. */

import { errorFrom, GalleryError, GalleryUnavailable, notUnderstood } from "./errors.js";
import { Retries, type RetryOptions } from "./retries.js";
import type { Auth, GalleryOptions } from "./types.js";

const RETRY_FOR_MS = 30_000;
const TIMEOUT_MS = 60_000; // of one try, unless it says another
const REPEATABLE = ["GET", "HEAD", "PUT", "DELETE"];

export interface RequestOptions {
  query?: URLSearchParams | [name: string, value: string][] | undefined;
  headers?: Record<string, string> | undefined;
  body?: Blob | FormData | ArrayBuffer | Uint8Array<ArrayBuffer> | string | undefined;
  /** Instead of `body`: is sent as JSON. */
  json?: unknown;
  signal?: AbortSignal | undefined;
  /** How long one try may take until the head of the answer is there (`json`: all of it); 0 is for ever. */
  timeoutMs?: number | undefined;
  retryForMs?: number | undefined;
  /** By default of GET, HEAD, PUT and DELETE, PATCH with If-Match, and POST with Idempotency-Key. */
  idempotent?: boolean | undefined;
}

type Waiting = Pick<RequestOptions, "signal" | "timeoutMs">;
type Read<T> = (response: Response) => Promise<T>;
type Retrying = Omit<RetryOptions, "retryForMs"> & { retryForMs?: number | undefined };

export class Http {
  /** The address of Gallery, without a slash at its end. */
  readonly url: string;
  /** Whether uploads may go past `fetch`, which tells no progress. */
  readonly usesXhr: boolean;
  readonly #auth: Auth | undefined;
  readonly #fetch: typeof fetch;
  readonly #retryForMs: number;

  constructor({ url, auth, fetch, retryForMs = RETRY_FOR_MS }: GalleryOptions) {
    const address = new URL(url, globalThis.location?.href);
    if (!/^https?:$/.test(address.protocol)) throw new TypeError(`The address of Gallery begins with https://: ${url}`);
    this.url = address.href.replace(/\/+$/, "");
    this.#auth = auth;
    this.usesXhr = !fetch && typeof XMLHttpRequest === "function";
    this.#fetch = fetch ?? ((...request) => globalThis.fetch(...request));
    this.#retryForMs = retryForMs;
  }

  /** A successful answer; `path` is below /api/v1. Throws `GalleryError`, once there is no use in trying again. */
  request(method: string, path: string, options?: RequestOptions): Promise<Response> {
    return this.call(method, path, options, asItIs);
  }

  /** The same with its JSON. */
  json<T>(method: string, path: string, options?: RequestOptions): Promise<T> {
    return this.call(method, path, options, readJson<T>);
  }

  /** The same with what `read` makes of it. */
  call<T>(method: string, path: string, options: RequestOptions = {}, read: Read<T>): Promise<T> {
    const idempotent = options.idempotent ?? isIdempotent(method, options.headers);
    return this.retrying(() => this.attempt(method, path, options, read), { ...options, idempotent });
  }

  /** One try, or two where the first one's token is refused. `read` reads the answer within the time. */
  attempt<T>(method: string, path: string, options: RequestOptions, read: Read<T>): Promise<T> {
    const url = this.endpoint(path, options.query);
    const { json, body = json === undefined ? null : JSON.stringify(json) } = options;
    const type: Record<string, string> = json === undefined ? {} : { "Content-Type": "application/json" };
    return this.authorized((credential) => {
      const headers = new Headers({ ...type, ...options.headers, ...credential });
      return this.#send(url, { method, headers, body }, options, read);
    }, options);
  }

  /** The result of `attempt`, tried again where that helps. It gets how often it was tried before. */
  async retrying<T>(attempt: (tries: number) => Promise<T>, options: Retrying = {}): Promise<T> {
    const retries = this.retries(options);
    for (let tries = 0; ; tries++) {
      try {
        return await attempt(tries);
      } catch (error) {
        await retries.pause(error);
      }
    }
  }

  /** For loops of their own: `pause` between two tries, `succeeded` at each progress. */
  retries(options: Retrying = {}): Retries {
    return new Retries({ ...options, retryForMs: options.retryForMs ?? this.#retryForMs });
  }

  /** The whole URL of a path below /api/v1. */
  endpoint(path: string, query: RequestOptions["query"] = []): string {
    const parameters = new URLSearchParams(query).toString();
    return `${this.url}/api/v1${path}${parameters && "?"}${parameters}`;
  }

  /** The header with the caller's credential; a function is asked for it each time. */
  async #authorization(waiting: Waiting): Promise<Record<string, string>> {
    const token = typeof this.#auth === "function" ? await ask(this.#auth, waiting) : this.#auth;
    if (!token) return {};
    return { Authorization: `${token.startsWith("gt_") ? "Upload" : "Bearer"} ${token}` };
  }

  /** What `send` returns with that header; once again, if the server refuses it and the function has a new one. */
  async authorized<T>(send: (headers: Record<string, string>) => Promise<T>, waiting: Waiting): Promise<T> {
    const headers = await this.#authorization(waiting);
    try {
      return await send(headers);
    } catch (error) {
      if (typeof this.#auth !== "function" || !(error instanceof GalleryError && error.status === 401)) throw error;
      const renewed = await this.#authorization(waiting);
      if (renewed.Authorization === headers.Authorization) throw error;
      return send(renewed);
    }
  }

  async #send<T>(
    url: string,
    init: RequestInit,
    { signal, timeoutMs = TIMEOUT_MS }: RequestOptions,
    read: Read<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    const controller = new AbortController();
    const stop = () => controller.abort(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    const late = new GalleryUnavailable(`Gallery has not answered within ${timeoutMs / 1000} seconds.`);
    const timer = timeoutMs > 0 ? setTimeout(() => controller.abort(late), timeoutMs) : undefined;
    try {
      const response = await this.#fetch(url, { ...init, signal: controller.signal });
      if (!response.ok) throw errorFrom(response.status, response.headers, await response.text());
      return await read(response);
    } catch (error) {
      signal?.throwIfAborted();
      if (controller.signal.aborted) throw late;
      throw error instanceof GalleryError ? error : unavailable(error);
    } finally {
      clearTimeout(timer);
      if ((read as unknown) !== asItIs) signal?.removeEventListener("abort", stop); // else it ends the body's reading, too
    }
  }
}

/** What `auth` returns, for which nothing waits longer than for an answer of the server. */
async function ask(auth: Exclude<Auth, string>, { signal, timeoutMs }: Waiting): Promise<string | undefined> {
  signal?.throwIfAborted();
  let stop = () => {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  const ended = new Promise<never>((_, reject) => {
    stop = () => reject(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    const limit = timeoutMs || TIMEOUT_MS;
    timer = setTimeout(reject, limit, new Error(`it has not answered within ${limit / 1000} seconds`));
  });
  try {
    return await Promise.race([auth(), ended]);
  } catch (error) {
    signal?.throwIfAborted();
    throw new GalleryUnavailable(`The function "auth" has failed: ${messageOf(error)}`, error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** The error of a connection that broke. */
export function unavailable(error: unknown): GalleryUnavailable {
  return new GalleryUnavailable(`Gallery cannot be reached: ${messageOf(error)}`, error);
}

/** For `attempt`: the answer with its body unread. */
export async function asItIs(response: Response): Promise<Response> {
  return response;
}

/** For `attempt`: the answer's JSON. */
export async function readJson<T>(response: Response): Promise<T> {
  const text = await response.text();
  try {
    return JSON.parse(text) as T;
  } catch {
    throw notUnderstood(response.status, response.headers);
  }
}

function isIdempotent(method: string, headers: Record<string, string> = {}): boolean {
  return REPEATABLE.includes(method) || headers[method === "PATCH" ? "If-Match" : "Idempotency-Key"] !== undefined;
}

/** Node says why only in the cause. */
function messageOf(error: unknown): string {
  const cause = (error as { cause?: { code?: string; message?: string } } | undefined)?.cause;
  return cause?.code ?? cause?.message ?? (error instanceof Error ? error.message : String(error));
}
