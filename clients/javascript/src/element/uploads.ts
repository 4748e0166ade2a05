import { createUploadQueue } from "../index.js";
import type { Image, UploadFields, UploadItem, UploadQueue } from "../types.js";
import { type Connection, thumbnailUrl } from "./connection.js";

/** A line of the list: a file on its way, or an image that the value named. */
export interface Entry extends Omit<UploadItem, "file"> {
  readonly file: File | undefined;
}

/** An entry has come so far, since the last look. */
export interface Change {
  type: "uploaded" | "ready" | "failed";
  entry: Entry;
}

/** How many entries there are by state, and their bytes. */
export interface Summary {
  all: number;
  done: number;
  failed: number;
  paused: number;
  /** Waiting or uploading. */
  active: number;
  sent: number;
  total: number;
}

/** The files of an element and the images of its value. */
export class Uploads {
  queue: UploadQueue | undefined;
  #connection: Connection | undefined;
  #kept: readonly Entry[] = [];
  #seen = new Map<string, Entry>();
  #halted: string[] = [];

  constructor(
    private readonly connect: () => Connection,
    private readonly changed: () => void,
  ) {}

  get entries(): readonly Entry[] {
    return [...this.#kept, ...(this.queue?.items() ?? [])];
  }

  /** The ids of all images that are stored, in the order of the list, each once. */
  get ids(): string[] {
    const ids = this.entries.filter(({ state }) => state !== "failed").map(imageId);
    return [...new Set(ids.filter((id) => id !== undefined))];
  }

  /** Keeps what has these ids and is uploaded, or on its way; ids that are not in the list are added to it. */
  set ids(wanted: readonly string[]) {
    const sent = new Set<string>();
    for (const { id, image } of this.queue?.items() ?? []) {
      if (image && wanted.includes(image.id)) sent.add(image.id);
      else if (image) this.queue?.remove(id);
    }
    const kept = new Map(this.#kept.map((entry) => [entry.id, entry]));
    this.#kept = wanted.filter((id) => !sent.has(id)).map((id) => kept.get(id) ?? keptEntry(id));
    void this.#describe();
  }

  /** A list that is empty is sent by the new one, and images that the value names are read by it. */
  reconnect(): void {
    if (this.queue?.items().length) return;
    this.#connection = undefined;
    void this.#describe();
  }

  /** A list that is empty begins with the connection as it is now. */
  add(files: readonly File[], fields: UploadFields, concurrency: number): void {
    if (!this.queue?.items().length) {
      this.queue?.close();
      this.#connection = this.connect();
      this.queue = createUploadQueue(this.#connection.gallery, concurrency ? { concurrency } : {});
      this.queue.subscribe(this.changed);
    }
    this.queue.add(files, fields);
  }

  remove(id: string): void {
    this.#kept = this.#kept.filter((entry) => entry.id !== id);
    this.queue?.remove(id);
    this.changed();
  }

  clear(): void {
    this.queue?.close();
    this.queue = undefined;
    this.ids = [];
  }

  /** Pauses what is under way, until `goOn`. */
  halt(): void {
    const active = this.entries.filter(isActive).map(({ id }) => id);
    this.#halted.push(...active); // it may be taken out twice before it is put in
    for (const id of active) this.queue?.pause(id);
  }

  goOn(): void {
    for (const id of this.#halted.splice(0)) this.queue?.resume(id);
  }

  /** What has happened since the last call. */
  changes(): Change[] {
    const changes: Change[] = [];
    const seen = new Map<string, Entry>();
    for (const entry of this.queue?.items() ?? []) {
      seen.set(entry.id, entry);
      const before = this.#seen.get(entry.id);
      if (entry === before) continue;
      if (entry.image && !before?.image) changes.push({ type: "uploaded", entry });
      const { state } = entry;
      if (state !== before?.state && (state === "ready" || state === "failed")) changes.push({ type: state, entry });
    }
    this.#seen = seen;
    return changes;
  }

  summary(): Summary {
    const sum = { all: 0, done: 0, failed: 0, paused: 0, active: 0, sent: 0, total: 0 };
    for (const entry of this.entries) {
      sum.all += 1;
      if (isActive(entry)) sum.active += 1;
      else if (entry.state === "paused" || entry.state === "failed") sum[entry.state] += 1;
      else sum.done += 1;
      if (entry.state === "failed") continue;
      sum.sent += entry.sent;
      sum.total += entry.total;
    }
    return sum;
  }

  /** A URL for a small picture of the image, if it may be seen; `free`: by its URL alone. */
  async preview(image: Image, free: boolean): Promise<string | undefined> {
    this.#connection ??= this.connect();
    return free ? thumbnailUrl(this.#connection.gallery, image) : this.#connection.preview(image);
  }

  /** Reads the images that the value names, for their names and pictures. */
  async #describe(): Promise<void> {
    await new Promise((done) => setTimeout(done)); // a page sets one property after the other
    const ids = this.#kept.filter(({ image }) => !image).map(({ id }) => id);
    if (!ids.length) return;
    this.#connection ??= this.connect();
    const { gallery } = this.#connection;
    const { images } = await gallery.images.page({ ids, signed: true, limit: 200 }).catch(() => ({ images: [] }));
    const found = new Map(images.map((image) => [image.id, image]));
    this.#kept = this.#kept.map((entry) => ({ ...entry, image: found.get(entry.id) ?? entry.image }));
    this.changed();
  }
}

export function isActive({ state }: Entry): boolean {
  return state === "waiting" || state === "uploading";
}

/** Of an image that the value names, it is the entry's own. */
function imageId({ id, file, image }: Entry): string | undefined {
  return file ? image?.id : id;
}

function keptEntry(id: string): Entry {
  return { id, file: undefined, state: "ready", sent: 0, total: 0, image: undefined, error: undefined };
}
