/** Uploads: a form for most photos, tus (https://tus.io) for large ones, which goes on where a connection broke. */

import { GalleryError } from "./errors.js";
import { type Http, readJson } from "./http.js";
import { randomKey, sha256 } from "./sha256.js";
import { byTus } from "./tus.js";
import type { Gallery, Image, ResumeStorage, UploadOptions } from "./types.js";
import { send } from "./upload-send.js";
import { notReadable, pause, retriesOf } from "./upload-tries.js";

export { cancelUpload } from "./tus.js";

const LARGE = 8_000_000; // bytes from which on a file goes by tus
const FIELDS = ["title", "description", "alt", "tags", "visibility", "lane", "focus"] as const;

/** A file on its way. `fields` as forms have them: one pair for each tag. */
export interface Upload {
  readonly http: Http;
  readonly file: Blob;
  readonly name: string;
  readonly fields: [name: string, value: string][];
  readonly key: string;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (sent: number) => void;
}

/**
 * Makes `gallery.upload`. Each file's SHA-256 is compared with the one of the image: `receipt_mismatch` where Gallery has
 * stored other bytes. A file that cannot be read any more is `file_not_readable`.
 */
export function createUpload(http: Http, storage: ResumeStorage | null): Gallery["upload"] {
  return async (file, options = {}) => {
    const upload = describe(http, file, options);
    const stop = new AbortController();
    const large = file.size >= LARGE;
    const digest = sha256(file, stop.signal).catch((cause) => {
      throw notReadable(cause);
    });
    digest.catch(() => {}); // of a large file it is awaited at the end
    try {
      upload.signal?.throwIfAborted();
      const image = large ? await byTus(upload, storage) : await byForm(upload, await digest);
      if (image.sha256 === (await digest)) return image;
      throw new GalleryError("receipt_mismatch", `Gallery has stored other bytes, as the image ${image.id}.`);
    } finally {
      stop.abort();
    }
  };
}

function describe(http: Http, file: Blob, options: UploadOptions): Upload {
  const { name = (file as Partial<File>).name ?? "", idempotencyKey, signal, onProgress } = options;
  const fields = FIELDS.flatMap((field) =>
    [options[field] ?? []].flat().map((value): [string, string] => {
      return [field, typeof value === "object" ? `${value.x},${value.y}` : value];
    }),
  );
  return {
    http,
    file,
    name,
    fields,
    key: idempotencyKey ?? randomKey(),
    signal,
    onProgress: (sent) => onProgress?.(sent, file.size),
  };
}

async function byForm(upload: Upload, digest: string): Promise<Image> {
  const { http, file, signal, onProgress } = upload;
  const form = new FormData();
  for (const [name, value] of upload.fields) form.append(name, value);
  form.append("sha256", digest);
  form.append("file", file, upload.name);
  const retries = retriesOf(upload);
  for (;;) {
    try {
      onProgress(0);
      const response = await send(http, {
        method: "POST",
        path: "/images",
        headers: { "Idempotency-Key": upload.key },
        body: form,
        size: file.size,
        onSent: onProgress,
        signal,
      });
      return await readJson<Image>(response);
    } catch (error) {
      await pause(retries, upload, error);
    }
  }
}
