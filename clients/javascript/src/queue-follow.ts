/** Follows the images of a queue, all by one stream of events. */

import { GalleryError } from "./errors.js";
import { sleep } from "./retries.js";
import type { EventOptions, Gallery, Image } from "./types.js";

const TYPES: NonNullable<EventOptions["types"]> = ["image.ready", "image.failed", "image.deleted"];
const GATHER_MS = 50; // events come in groups: their images are read together
const AGAIN_MS = 3000;
const MOST_IDS = 50; // of one read

/** Is told an image as it is now, or the error for which it can no longer be followed. */
export type Listener = (id: string, now: Image | Error) => void;

export class Follower {
  readonly #gallery: Gallery;
  readonly #listener: Listener;
  readonly #followed = new Set<string>();
  readonly #unread = new Set<string>();
  readonly #closing = new AbortController();
  #isReading = false;

  constructor(gallery: Gallery, listener: Listener) {
    this.#gallery = gallery;
    this.#listener = listener;
    void this.#follow();
  }

  /** Its image is read at once, since it may have changed before the stream was open. */
  follow(id: string): void {
    this.#followed.add(id);
    this.#read([id]);
  }

  unfollow(id: string): void {
    this.#followed.delete(id);
  }

  /** For good. */
  close(): void {
    this.#closing.abort();
  }

  /** What happened while no stream was open is read. Where none can be opened, the images are read time and again. */
  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    const onOpen = () => this.#read(this.#followed);
    while (!signal.aborted) {
      try {
        for await (const { imageId } of this.#gallery.events({ types: TYPES, signal, onOpen })) {
          if (imageId === undefined) onOpen();
          else if (this.#followed.has(imageId)) this.#read([imageId]);
        }
      } catch {
        onOpen(); // an error that lasts is told by this read
      }
      await sleep(AGAIN_MS, signal).catch(() => {});
    }
  }

  #read(ids: Iterable<string>): void {
    for (const id of ids) this.#unread.add(id);
    if (this.#isReading) return;
    this.#isReading = true;
    this.#readAll().catch(() => {}); // it was closed
  }

  async #readAll(): Promise<void> {
    const { signal } = this.#closing;
    while (this.#unread.size) {
      await sleep(GATHER_MS, signal);
      const ids = [...this.#unread].slice(0, MOST_IDS);
      for (const id of ids) this.#unread.delete(id);
      try {
        await this.#tell(ids.filter((id) => this.#followed.has(id)));
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof GalleryError && error.temporary) {
          await sleep(AGAIN_MS, signal);
          for (const id of ids) this.#unread.add(id);
        } else {
          for (const id of ids) this.#listener(id, error as Error);
        }
      }
    }
    this.#isReading = false;
  }

  /** A list may lag behind: whether an image is gone is told by itself. */
  async #tell(ids: string[]): Promise<void> {
    if (!ids.length) return;
    const { signal } = this.#closing;
    const { images } = await this.#gallery.images.page({ ids, signal });
    for (const id of ids) {
      const found = images.find((image) => image.id === id);
      const now = found ?? (await this.#gallery.images.get(id, { signal }).catch((error: Error) => error));
      signal.throwIfAborted();
      this.#listener(id, now);
    }
  }
}
