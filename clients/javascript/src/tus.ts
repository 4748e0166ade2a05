/** Large files by tus 1.0.0 (https://tus.io/protocols/resumable-upload), in chunks. */

import { type GalleryError, notUnderstood } from "./errors.js";
import { asItIs } from "./http.js";
import { imagePath } from "./images.js";
import { fingerprint, type ResumeEntry, resumeEntry } from "./resume.js";
import type { Retries } from "./retries.js";
import type { Image, ResumeStorage } from "./types.js";
import type { Upload } from "./upload.js";
import { send } from "./upload-send.js";
import { pause, retriesOf } from "./upload-tries.js";

const MIB = 1024 * 1024;
const MAX_CHUNK = 8 * MIB; // of one request: the server's parts
const MIN_CHUNK = MIB / 4;
const MAX_RENEWALS = 3; // of an upload that the server does not know any more
const VERSION = { "Tus-Resumable": "1.0.0" };
const REFUSED = [400, 404, 410, 413, 415, 422]; // statuses of an upload that will not go on

interface State {
  offset: number;
  image: string | null;
  duplicate: boolean;
}

const unfinished = new WeakMap<Blob, () => Promise<void>>();

/**
 * Removes on the server what has arrived of this file, after its upload was aborted: `controller.abort()` alone keeps it
 * for a day, so that the upload can go on. Throws `GalleryError`; does nothing if there is no such upload.
 */
export async function cancelUpload(file: Blob): Promise<void> {
  await unfinished.get(file)?.();
}

/** Begins the upload, or goes on with the one that is remembered for this file. */
export function byTus(upload: Upload, storage: ResumeStorage | null): Promise<Image> {
  return new Tus(upload, storage).finish();
}

class Tus {
  readonly #upload: Upload;
  readonly #storage: ResumeStorage | null;
  #entry: ResumeEntry | undefined;
  #path: string | undefined;
  #chunk = MAX_CHUNK;
  #largest = MAX_CHUNK;
  #renewals = 0;

  constructor(upload: Upload, storage: ResumeStorage | null) {
    this.#upload = upload;
    this.#storage = storage;
  }

  /** Asks how much is there, sends the rest, and asks again after each break: so nothing that arrived is sent again. */
  async finish(): Promise<Image> {
    const { http, signal, file, onProgress } = this.#upload;
    const retries = retriesOf(this.#upload);
    let state: State | undefined;
    let furthest = 0;
    for (;;) {
      try {
        signal?.throwIfAborted();
        state = state ? await this.#send(state.offset) : await this.#ask();
        onProgress(state.image ? file.size : state.offset);
        if (state.offset > furthest) retries.succeeded();
        furthest = Math.max(furthest, state.offset);
        if (!state.image) continue;
        const image = await http.json<Image>("GET", imagePath(state.image), { signal });
        this.#end();
        return { ...image, duplicate: state.duplicate };
      } catch (error) {
        await this.#recover(error, retries);
        state = undefined;
      }
    }
  }

  /** Resolves when it is time to ask again; throws `error` if that is of no use. */
  async #recover(error: unknown, retries: Retries): Promise<void> {
    const { status, code } = error as Partial<GalleryError>;
    const isGone = status === 404 || status === 410;
    if (isGone && this.#path && this.#renewals++ < MAX_RENEWALS) return this.#end();
    const isLimit = code === "http_413" && this.#chunk > MIN_CHUNK; // a proxy's, not Gallery's
    this.#chunk = Math.max(this.#chunk / 2, MIN_CHUNK); // so that it arrives before the connection breaks again
    if (isLimit) {
      this.#largest = this.#chunk;
      return;
    }
    try {
      await pause(retries, this.#upload, error);
    } catch (final) {
      if (REFUSED.includes(status ?? 0)) this.#end();
      throw final;
    }
  }

  /** `GET` says what `HEAD` says, and why an upload was refused. */
  async #ask(): Promise<State> {
    const { http, file, name, fields, signal } = this.#upload;
    this.#entry ??= resumeEntry(this.#storage, await fingerprint(file, [http.url, name, fields]));
    this.#path ??= this.#entry.read();
    if (this.#path) return this.#read(await http.attempt("GET", this.#path, { headers: VERSION, signal }, asItIs));
    const response = await http.attempt("POST", "/uploads", { headers: this.#creation(), signal }, asItIs);
    const id = response.headers.get("Location")?.split("/").pop();
    if (!id) throw notUnderstood(response.status, response.headers);
    this.#path = `/uploads/${id}`;
    return this.#read(response);
  }

  #creation(): Record<string, string> {
    const { file, name, key, fields } = this.#upload;
    const tags = fields.filter(([field]) => field === "tags").map(([, tag]) => tag);
    const values = new Map([...fields, ["filename", name], ["idempotencyKey", key]]);
    if (tags.length) values.set("tags", JSON.stringify(tags));
    const metadata = Array.from(values, ([field, value]) => `${field} ${base64(value)}`);
    return { ...VERSION, "Upload-Length": `${file.size}`, "Upload-Metadata": metadata.join(",") };
  }

  async #send(offset: number): Promise<State> {
    const { http, file, signal, onProgress } = this.#upload;
    const body = file.slice(offset, (Math.floor(offset / this.#chunk) + 1) * this.#chunk);
    const response = await send(http, {
      method: "PATCH",
      path: this.#path as string,
      headers: { ...VERSION, "Upload-Offset": `${offset}`, "Content-Type": "application/offset+octet-stream" },
      body,
      size: body.size,
      onSent: (bytes) => onProgress(offset + bytes),
      signal,
    });
    this.#chunk = Math.min(2 * this.#chunk, this.#largest);
    return this.#read(response);
  }

  #read({ status, headers }: Response): State {
    const offset = headers.get("Upload-Offset");
    if (!offset) throw notUnderstood(status, headers);
    this.#entry?.write(this.#path as string, headers.get("Upload-Expires"));
    unfinished.set(this.#upload.file, () => this.#cancel());
    return {
      offset: Number(offset),
      image: headers.get("Gallery-Image"),
      duplicate: headers.has("Gallery-Duplicate"),
    };
  }

  async #cancel(): Promise<void> {
    const path = this.#path as string;
    this.#end();
    await this.#upload.http.request("DELETE", path, { headers: VERSION });
  }

  /** There is nothing left to go on with. */
  #end(): void {
    if (this.#path) this.#entry?.delete(this.#path);
    this.#path = undefined;
    unfinished.delete(this.#upload.file);
  }
}

function base64(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}
