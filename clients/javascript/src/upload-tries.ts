/** When a request of an upload is tried again. */

import { GalleryError } from "./errors.js";
import { type Retries, sleep } from "./retries.js";
import type { Upload } from "./upload.js";

const OFFLINE_MS = 600_000; // that a browser may be offline

/** For `pause`. Many files at once soon meet a server's limit of requests (429), so that is waited for. */
export function retriesOf({ http, signal }: Upload): Retries {
  return http.retries({ signal, busy: [423, 429] });
}

/**
 * Resolves when it is time for the next try; throws `error` if there is none, or the file can no longer be read. A browser
 * that is offline waits until it is online, for ten minutes at most, and patience begins anew.
 */
export async function pause(retries: Retries, { file, signal }: Upload, error: unknown): Promise<void> {
  signal?.throwIfAborted();
  await check(file);
  if (globalThis.navigator?.onLine !== false || !(error as Partial<GalleryError>).temporary)
    return retries.pause(error);
  const online = new Promise((resolve) => addEventListener("online", resolve, { once: true }));
  await Promise.race([online, sleep(OFFLINE_MS, signal)]);
  retries.succeeded();
}

/** A browser refuses to read a file that has changed since it was chosen; a request with it fails as if by the network. */
async function check(file: Blob): Promise<void> {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch (cause) {
    throw notReadable(cause);
  }
}

export function notReadable(cause: unknown): GalleryError {
  const detail = "The file cannot be read: it has changed, is gone, or is a folder.";
  return new GalleryError("file_not_readable", detail, { cause });
}
