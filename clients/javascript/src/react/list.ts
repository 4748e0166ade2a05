import type { Gallery, GalleryEvent, Image, ImagePage } from "../types.js";
import { type Listener, listen } from "./stream.js";

/** Which images a list holds, and how they are read. */
export interface ListSource {
  page(wanted: { cursor?: string; ids?: string[]; signal: AbortSignal }): Promise<ImagePage>;
  /** Whether the list may hold this image. */
  concerns(id: string): boolean;
  /** Of a list whose filter and order are known here: single images are put in place. Without it all is read again. */
  placing?: Placing | undefined;
}

export interface Placing {
  matches(image: Image): boolean;
  compare(a: Image, b: Image): number;
}

/** A list as it is now: a change makes a new object. */
export interface ImagesResult {
  images: readonly Image[];
  /** Why the last read failed, or why the list is not live. What was read before is still shown. */
  error: Error | undefined;
  /** The first page is being read, or what `more` and `refresh` want. */
  loading: boolean;
  hasMore: boolean;
  /** Read the next page. */
  more: () => void;
  /** Read all again that is shown. */
  refresh: () => void;
}

const MAX_IDS = 100; // in one URL, of less than 4 kB
const OPEN_TIMEOUT_MS = 1000; // without a stream until then, the list is read all the same, and again when it stands
const MIN_GAP_MS = 50; // from an event to its read; it doubles while events go on
const MAX_GAP_MS = 1000;
const RENEW_AT = 0.75; // of the time for which signed URLs are still valid

/**
 * A live list, as a store for `useSyncExternalStore`: it reads and listens while it has subscribers.
 *
 * It begins to read when the stream of events stands, and reads one thing after another. So each change is in a read that
 * began after its event, and no late answer replaces a newer one.
 */
export class ImageList implements Listener {
  readonly #gallery: Gallery;
  readonly #source: ListSource;
  readonly #subscribers = new Set<() => void>();
  #state: ImagesResult;
  #cursor: string | null;
  #pages = 1;
  /** The last image of the last page: an image that sorts after it comes with a later page. */
  #end: Image | undefined;
  /** Of the present subscription. */
  #signal: AbortSignal | undefined;
  #stop: (() => void) | undefined;
  #streamError: Error | undefined;
  /** What is to be read. */
  #wantsAll = true;
  #wantsMore = false;
  readonly #changed = new Set<string>();
  readonly #deleted = new Set<string>();
  #isReading = false;
  #gapMs = MIN_GAP_MS;
  #lastRead = 0;
  #renewAt = 0;
  #timers: Partial<Record<"open" | "changed" | "renew", ReturnType<typeof setTimeout>>> = {};

  /** `initial`: the first page, where it is there already. */
  constructor(gallery: Gallery, source: ListSource, initial?: ImagePage) {
    this.#gallery = gallery;
    this.#source = source;
    this.#cursor = initial?.cursor ?? null;
    this.#end = initial?.images.at(-1);
    this.#state = {
      images: initial?.images ?? [],
      error: undefined,
      loading: !initial,
      hasMore: !!initial?.cursor,
      more: () => {
        this.#wantsMore = this.#state.hasMore;
        this.#set({ loading: true });
        this.#read();
      },
      refresh: () => {
        this.#set({ loading: true });
        this.#readAgain();
      },
    };
  }

  readonly get = (): ImagesResult => this.#state;

  readonly subscribe = (subscriber: () => void): (() => void) => {
    this.#subscribers.add(subscriber);
    this.#stop ??= this.#begin();
    return () => {
      this.#subscribers.delete(subscriber);
      if (this.#subscribers.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  };

  // --- the stream ---

  onOpen(first: boolean): void {
    clearTimeout(this.#timers.open);
    this.#streamError = undefined;
    this.#wantsAll ||= first || !!this.#state.error || Date.now() > this.#renewAt;
    this.#read();
  }

  onError(error: Error): void {
    this.#streamError = error;
    this.#set({ error });
    this.#read();
  }

  onEvent({ type, imageId: id, version }: GalleryEvent): void {
    if (!id) {
      this.#readAgain(); // it is a reset
    } else if (type === "image.deleted") {
      this.#deleted.add(id);
      this.#set({});
    } else if (
      this.#source.concerns(id) &&
      !this.#state.images.some((image) => image.id === id && image.version >= Number(version))
    ) {
      this.#changed.add(id);
      this.#readSoon();
    }
  }

  // --- when to read ---

  #begin(): () => void {
    const abort = new AbortController();
    this.#signal = abort.signal;
    this.#isReading = false;
    this.#wantsAll = true;
    this.#timers.open = setTimeout(this.#read, OPEN_TIMEOUT_MS);
    const leave = listen(this.#gallery, this);
    return () => {
      abort.abort();
      for (const timer of Object.values(this.#timers)) clearTimeout(timer);
      this.#timers = {};
      leave();
    };
  }

  readonly #readAgain = (): void => {
    this.#wantsAll = true;
    this.#read();
  };

  #readSoon(): void {
    if (this.#timers.changed) return;
    const isBusy = Date.now() - this.#lastRead < 2 * this.#gapMs;
    this.#gapMs = isBusy ? Math.min(2 * this.#gapMs, MAX_GAP_MS) : MIN_GAP_MS;
    this.#timers.changed = setTimeout(() => {
      delete this.#timers.changed;
      this.#read();
    }, this.#gapMs);
  }

  #renewInTime(): void {
    const ends = this.#state.images.map(({ original }) => Number(/exp=(\d+)/.exec(original)?.[1] ?? Infinity));
    const validMs = RENEW_AT * (1000 * Math.min(...ends) - Date.now());
    this.#renewAt = Date.now() + validMs;
    clearTimeout(this.#timers.renew);
    if (validMs > 0 && validMs < Infinity) this.#timers.renew = setTimeout(this.#readAgain, validMs);
  }

  // --- reading ---

  readonly #read = async (): Promise<void> => {
    const signal = this.#signal;
    if (!signal || this.#isReading) return;
    this.#isReading = true;
    await undefined; // in StrictMode the first subscription has ended by now, without a request
    let failure: Error | undefined;
    try {
      while (!signal.aborted && (await this.#readNext(signal)));
    } catch (error) {
      failure = error as Error;
    }
    if (signal.aborted) return;
    this.#isReading = false;
    this.#wantsAll ||= !!failure; // with the next event, and when the stream stands again
    this.#set({ error: failure ?? this.#streamError, loading: false });
  };

  /** Whether there was something to read. */
  async #readNext(signal: AbortSignal): Promise<boolean> {
    const { placing } = this.#source;
    const isChanged = this.#changed.size > 0 && !this.#timers.changed;
    if (this.#wantsAll || (isChanged && !placing)) {
      this.#wantsAll = false;
      this.#changed.clear();
      const images = await this.#readPages(null, this.#pages, signal);
      this.#set({ images: this.#newest(images) });
    } else if (this.#wantsMore && this.#cursor) {
      this.#wantsMore = false;
      this.#put(await this.#readPages(this.#cursor, 1, signal), []);
      this.#pages++;
    } else if (isChanged) {
      const ids = [...this.#changed].slice(0, MAX_IDS);
      for (const id of ids) this.#changed.delete(id);
      this.#put((await this.#source.page({ ids, signal })).images, ids);
    } else {
      return false;
    }
    this.#lastRead = Date.now();
    return true;
  }

  /** So many pages, or all that there are, from a cursor on. */
  async #readPages(cursor: string | null, count: number, signal: AbortSignal): Promise<Image[]> {
    const images: Image[] = [];
    do {
      const page = await this.#source.page({ ...(cursor && { cursor }), signal });
      images.push(...page.images);
      cursor = page.cursor;
    } while (cursor && --count > 0);
    signal.throwIfAborted();
    this.#cursor = cursor;
    this.#end = images.at(-1) ?? this.#end;
    return images;
  }

  // --- what is shown ---

  /** Images in their places; what is shown of `ids`, and was not found, goes. */
  #put(found: Image[], ids: string[]): void {
    const { placing } = this.#source;
    const end = this.#cursor && this.#end;
    const read = new Set([...ids, ...found.map(({ id }) => id)]);
    let images = [...this.#state.images.filter(({ id }) => !read.has(id)), ...this.#newest(found)];
    if (placing) {
      const isShown = (image: Image): boolean => placing.matches(image) && !(end && placing.compare(image, end) > 0);
      images = images.filter(isShown).sort(placing.compare);
    }
    this.#set({ images });
  }

  /** What is shown stays where it is newer, and where it is the same. */
  #newest(found: Image[]): Image[] {
    const shown = new Map(this.#state.images.map((image) => [image.id, image]));
    return found.map((image) => {
      const old = shown.get(image.id);
      const isSame = old?.version === image.version && old.original === image.original;
      return old && (isSame || old.version > image.version) ? old : image;
    });
  }

  #set(change: Partial<ImagesResult>): void {
    const { images: old } = this.#state;
    const images = (change.images ?? old).filter(({ id }) => !this.#deleted.has(id));
    const isSame = images.length === old.length && images.every((image, at) => image === old[at]);
    this.#state = { ...this.#state, ...change, images: isSame ? old : images, hasMore: !!this.#cursor };
    if (change.images) this.#renewInTime();
    for (const subscriber of this.#subscribers) subscriber();
  }
}
