import type { EventOptions, Gallery, GalleryEvent } from "../types.js";

const LINGER_MS = 1000; // a page that is left for the next one keeps its stream
const AGAIN_MS = 30_000; // after an error that the client does not mend by itself, such as a token that is refused

export interface Listener {
  onEvent(event: GalleryEvent): void;
  /** The stream stands. Events from now on are told; `first`: earlier ones were not. */
  onOpen(first: boolean): void;
  /** There is no stream for some time, or for good. */
  onError(error: Error): void;
}

/** The one event stream of a Gallery, for all its hooks. */
interface Stream {
  listeners: Set<Listener>;
  abort: AbortController;
  isOpen: boolean;
  linger?: ReturnType<typeof setTimeout>;
}

const streams = new WeakMap<Gallery, Stream>();

/**
 * Hear the events of a Gallery until the returned function is called. Where the stream stands already, `onOpen` is called at
 * once. The stream begins with the first listener, and ends soon after the last.
 */
export function listen(gallery: Gallery, listener: Listener): () => void {
  const stream = streams.get(gallery) ?? { listeners: new Set(), abort: new AbortController(), isOpen: false };
  const { listeners, abort } = stream;
  clearTimeout(stream.linger);
  listeners.add(listener);
  if (stream.isOpen) listener.onOpen(true);
  if (!streams.has(gallery)) void follow(gallery, stream);
  streams.set(gallery, stream);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    stream.linger = setTimeout(() => {
      streams.delete(gallery);
      abort.abort();
    }, LINGER_MS);
  };
}

/** The Gallery, with this stream for its `events`. Their `types` are not looked at. */
export function sharing(gallery: Gallery): Gallery {
  return Object.assign(Object.create(gallery), { events: (options: EventOptions) => events(gallery, options) });
}

async function* events(gallery: Gallery, { signal, onOpen }: EventOptions): ReturnType<Gallery["events"]> {
  const found: (GalleryEvent | Error)[] = [];
  let wake = () => {};
  const note = (event: GalleryEvent | Error): void => {
    found.push(event);
    wake();
  };
  const leave = listen(gallery, { onEvent: note, onError: note, onOpen: () => onOpen?.() });
  signal?.addEventListener("abort", () => wake());
  try {
    while (!signal?.aborted) {
      const event = found.shift();
      if (event instanceof Error) throw event;
      if (event) yield event;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    leave();
  }
}

async function follow(gallery: Gallery, stream: Stream): Promise<void> {
  const { listeners, abort } = stream;
  const onOpen = (): void => {
    for (const listener of listeners) listener.onOpen(!stream.isOpen);
    stream.isOpen = true;
  };
  for (;;) {
    try {
      for await (const event of gallery.events({ signal: abort.signal, onOpen })) {
        for (const listener of listeners) listener.onEvent(event);
      }
    } catch (error) {
      for (const listener of listeners) listener.onError(error as Error);
    }
    if (abort.signal.aborted) return;
    stream.isOpen = false;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}
