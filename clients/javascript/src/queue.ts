/** Files on their way to Gallery, as a store without a framework. */

import { GalleryError } from "./errors.js";
import { Follower } from "./queue-follow.js";
import { randomKey } from "./sha256.js";
import type {
  Gallery,
  Image,
  UploadFields,
  UploadItem,
  UploadQueue,
  UploadQueueOptions,
  UploadState,
} from "./types.js";
import { cancelUpload } from "./upload.js";

const CONCURRENCY = 3;
const PROGRESS_MS = 100; // between two notifications of progress

interface Entry {
  item: UploadItem;
  fields: UploadFields;
  /** Of all tries, so that they make one image. */
  key: string;
  sent: number;
  stop?: AbortController;
}

/**
 * Makes a queue of uploads to `gallery`.
 *
 * Listeners are called after each change, at most every 100 ms for progress alone. A paused upload goes on where it was, and
 * so does one that has failed, with `retry`. `remove` also removes what has arrived of an upload on the server; with
 * `deleteRemoved` its image too, unless that was there before (`duplicate`). If the image cannot be deleted, the item comes
 * back with the error.
 */
export function createUploadQueue(gallery: Gallery, options: UploadQueueOptions = {}): UploadQueue {
  return new Queue(gallery, options);
}

/** Its functions may be taken from it, and from a proxy of it, as frameworks make them. */
class Queue implements UploadQueue {
  readonly #gallery: Gallery;
  readonly #options: UploadQueueOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();
  #follower: Follower | undefined;
  #snapshot: readonly UploadItem[] | undefined;
  #notified: unknown;
  #progress: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(gallery: Gallery, options: UploadQueueOptions) {
    this.#gallery = gallery;
    this.#options = options;
  }

  readonly items = (): readonly UploadItem[] => {
    this.#snapshot ??= Array.from(this.#entries.values(), ({ item }) => item);
    return this.#snapshot;
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    const own = () => listener(); // the same listener may subscribe twice
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  };

  readonly add = (files: Iterable<File>, fields: UploadFields = {}): UploadItem[] => {
    if (this.#closed) throw new Error("The upload queue is closed.");
    const added = Array.from(files, (file) => {
      const id = randomKey();
      const item = {
        id,
        file,
        state: "waiting",
        sent: 0,
        total: file.size,
        image: undefined,
        error: undefined,
      } as const;
      this.#entries.set(id, { item, fields, key: id, sent: 0 });
      return item;
    });
    this.#changed();
    return added;
  };

  readonly pause = (id?: string): void => {
    for (const entry of this.#select(id, "waiting", "uploading")) {
      this.#set(entry, { state: "paused" });
      entry.stop?.abort();
    }
  };

  readonly resume = (id?: string): void => {
    for (const entry of this.#select(id, "paused")) this.#set(entry, { state: "waiting" });
  };

  readonly retry = (id?: string): void => {
    for (const entry of this.#select(id, "failed")) {
      const { image } = entry.item;
      if (image && image.status !== "FAILED") {
        this.#stored(entry, image); // it could not be followed, or deleted
        continue;
      }
      if (image) entry.key = randomKey(); // else its old answer comes again
      this.#set(entry, { state: "waiting", image: undefined, error: undefined });
    }
  };

  readonly remove = (id: string): void => {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.#entries.delete(id);
    this.#changed();
    const { image, file } = entry.item;
    if (image) {
      this.#discard(entry, image);
      return;
    }
    const isSent = entry.item.state === "uploading" && entry.sent === file.size;
    if (isSent && this.#options.deleteRemoved) return; // its image is deleted when its id is known
    entry.stop?.abort();
    cancelUpload(file).catch(() => {}); // the server removes it after a day
  };

  readonly close = (): void => {
    this.pause();
    this.#closed = true;
    this.#follower?.close();
    this.#listeners.clear();
    clearTimeout(this.#progress);
  };

  *#select(id: string | undefined, ...states: UploadState[]): Iterable<Entry> {
    for (const entry of [...this.#entries.values()]) {
      if ((id === undefined || id === entry.item.id) && states.includes(entry.item.state)) yield entry;
    }
  }

  #set(entry: Entry, changes: Partial<UploadItem>): void {
    entry.item = { ...entry.item, sent: entry.sent, ...changes };
    this.#changed();
  }

  /** Notifies once for all changes of the present task. */
  #changed(): void {
    this.#snapshot = undefined;
    this.#notified ??= Promise.resolve().then(() => {
      this.#start();
      this.#notified = undefined;
      for (const listener of this.#listeners) listener();
    });
  }

  #sent(entry: Entry, sent: number): void {
    entry.sent = sent;
    this.#progress ??= setTimeout(() => {
      this.#progress = undefined;
      for (const one of this.#select(undefined, "uploading")) if (one.sent !== one.item.sent) this.#set(one, {});
    }, PROGRESS_MS);
  }

  /** Begins as many uploads as may go at once. */
  #start(): void {
    if (this.#closed) return;
    const { concurrency = CONCURRENCY } = this.#options;
    let free = concurrency - [...this.#select(undefined, "uploading")].length;
    for (const entry of this.#select(undefined, "waiting")) if (free-- > 0) void this.#upload(entry);
    const [busy] = this.#select(undefined, "waiting", "uploading", "processing");
    if (busy) return;
    this.#follower?.close();
    this.#follower = undefined;
  }

  async #upload(entry: Entry): Promise<void> {
    const stop = new AbortController();
    entry.stop = stop;
    this.#set(entry, { state: "uploading" });
    try {
      const image = await this.#gallery.upload(entry.item.file, {
        ...this.#options.fields,
        ...entry.fields,
        idempotencyKey: entry.key,
        signal: stop.signal,
        onProgress: (sent) => stop.signal.aborted || this.#sent(entry, sent),
      });
      if (this.#entries.has(entry.item.id)) this.#stored(entry, image);
      else this.#discard(entry, image);
    } catch (error) {
      if (!stop.signal.aborted) this.#set(entry, { state: "failed", error: error as Error });
    }
  }

  #stored(entry: Entry, image: Image): void {
    const { wait = true } = this.#options;
    entry.sent = entry.item.total;
    this.#set(entry, { image, error: undefined, ...outcome(image, wait) });
    if (entry.item.state !== "processing" || this.#closed) return;
    this.#follower ??= new Follower(this.#gallery, (id, now) => this.#told(id, now));
    this.#follower.follow(image.id);
  }

  #told(id: string, now: Image | Error): void {
    for (const entry of this.#select(undefined, "processing")) {
      const { image } = entry.item;
      if (image?.id !== id) continue;
      if (now instanceof Error) this.#set(entry, { state: "failed", error: now });
      else this.#set(entry, { image: { ...image, ...now }, ...outcome(now, true) }); // only an upload tells `duplicate`
      if (entry.item.state !== "processing") this.#follower?.unfollow(id);
    }
  }

  #discard(entry: Entry, image: Image): void {
    if (!this.#options.deleteRemoved || image.duplicate) return;
    this.#gallery.images.delete(image.id).catch((error) => {
      if (error.status === 404) return;
      this.#entries.set(entry.item.id, entry);
      this.#set(entry, { state: "failed", image, error });
    });
  }
}

function outcome({ status, error }: Image, wait: boolean): Partial<UploadItem> {
  if (status === "READY" || !wait) return { state: "ready" };
  if (status !== "FAILED") return { state: "processing" };
  const { code, message } = error ?? { code: "failed", message: "The image could not be processed." };
  return { state: "failed", error: new GalleryError(code, message) };
}
