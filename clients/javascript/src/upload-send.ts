/** One request that sends a file, or a part of one. */

import { errorFrom } from "./errors.js";
import { asItIs, type Http, unavailable } from "./http.js";

const STALLED_MS = 60_000; // without a byte sent, the connection is taken for dead
const ANSWER_MS = 300_000; // from the last byte to the answer
const SLOWEST = 10; // bytes in a millisecond, where nothing tells how many were sent

export interface SendRequest {
  method: string;
  /** Below /api/v1. */
  path: string;
  headers: Record<string, string>;
  body: Blob | FormData;
  /** The bytes of the file in the body. */
  size: number;
  onSent: (bytes: number) => void;
  signal: AbortSignal | undefined;
}

/**
 * A successful answer. Browsers send by XMLHttpRequest, since `fetch` tells no progress; elsewhere `onSent` is called at the
 * end. Throws `GalleryError`.
 */
export async function send(http: Http, request: SendRequest): Promise<Response> {
  const { method, path, headers, body, size, onSent, signal } = request;
  if (http.usesXhr) {
    return http.authorized((credential) => byXhr(http.endpoint(path), request, { ...headers, ...credential }), {
      signal,
    });
  }
  const timeoutMs = ANSWER_MS + size / SLOWEST;
  const response = await http.attempt(method, path, { headers, body, signal, timeoutMs }, asItIs);
  onSent(size);
  return response;
}

function byXhr(
  url: string,
  { method, body, size, onSent, signal }: SendRequest,
  headers: Record<string, string>,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const xhr = new XMLHttpRequest();
    const stop = () => xhr.abort();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const watch = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(stop, ms);
    };
    xhr.upload.onprogress = ({ loaded }) => {
      watch(STALLED_MS);
      onSent(Math.min(loaded, size)); // a form has more bytes than its file
    };
    xhr.upload.onload = () => watch(ANSWER_MS);
    xhr.onloadend = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      const { status, responseText } = xhr;
      const lines = xhr.getAllResponseHeaders().matchAll(/(.+?): *(.*)/g);
      const headers = new Headers(Array.from(lines, ([, name = "", value = ""]) => [name, value]));
      if (signal?.aborted) reject(signal.reason);
      else if (!status) reject(unavailable(new Error("the connection broke")));
      else if (status >= 300) reject(errorFrom(status, headers, responseText));
      else resolve(new Response(responseText || null, { status, headers }));
    };
    signal?.addEventListener("abort", stop);
    watch(STALLED_MS);
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.send(body);
  });
}
