import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { createUploadQueue } from "../queue.js";
import type { Gallery, UploadFields, UploadItem, UploadQueue, UploadQueueOptions } from "../types.js";
import { useGallery } from "./context.js";
import { sharing } from "./stream.js";

export interface UseUploadOptions extends UploadQueueOptions {
  /** A queue of `createUploadQueue`, which goes on when the component is gone. The other options are then its own. */
  queue?: UploadQueue;
}

/** Bytes of all items; `share` from 0 to 1. */
export interface UploadProgress {
  sent: number;
  total: number;
  share: number;
}

export interface Upload extends Pick<UploadQueue, "pause" | "resume" | "retry" | "remove"> {
  /** Takes the `files` of an `<input>` as they are. */
  add: (files: Iterable<File> | null, fields?: UploadFields) => UploadItem[];
  items: readonly UploadItem[];
  progress: UploadProgress;
}

/**
 * The uploads of a component. They end when it unmounts, unless a `queue` is given. `fields` may change from render to render;
 * the other options are those of the first one.
 */
export function useUpload(options: UseUploadOptions = {}): Upload {
  const queue = useQueue(options);
  const items = useSyncExternalStore(queue.subscribe, queue.items, queue.items);
  const fields = useRef(options.fields);
  useEffect(() => {
    fields.current = options.fields;
  });
  const calls = useMemo(
    () => ({
      add: (files: Iterable<File> | null, more?: UploadFields) =>
        queue.add(files ?? [], { ...fields.current, ...more }),
      pause: (id?: string) => queue.pause(id),
      resume: (id?: string) => queue.resume(id),
      retry: (id?: string) => queue.retry(id),
      remove: (id: string) => queue.remove(id),
    }),
    [queue],
  );
  return { ...calls, items, progress: progressOf(items) };
}

function progressOf(items: readonly UploadItem[]): UploadProgress {
  const sum = (of: (item: UploadItem) => number): number => items.reduce((all, item) => all + of(item), 0);
  const sent = sum((item) => item.sent);
  const total = sum((item) => item.total);
  return { sent, total, share: sent / total || 0 };
}

interface Own {
  gallery: Gallery;
  options: UploadQueueOptions;
  queue: UploadQueue;
  closed?: boolean;
  closing?: ReturnType<typeof setTimeout>;
}

function makeOwn(gallery: Gallery, options: UploadQueueOptions): Own {
  return { gallery, options, queue: createUploadQueue(sharing(gallery), options) };
}

/** The queue that is given, or one of the component's own, new for another Gallery. */
function useQueue({ queue, fields: _, ...options }: UseUploadOptions): UploadQueue {
  const gallery = useGallery();
  const [own, setOwn] = useState(() => makeOwn(gallery, options));
  if (own.gallery !== gallery) setOwn(makeOwn(gallery, options));
  useEffect(() => {
    clearTimeout(own.closing);
    if (own.closed) setOwn(makeOwn(own.gallery, own.options)); // the component was hidden, and is shown again
    return () => {
      // Later: in StrictMode and when code is replaced, the component mounts again at once, and its uploads go on.
      own.closing = setTimeout(() => {
        own.closed = true;
        own.queue.close();
      });
    };
  }, [own]);
  return queue ?? own.queue;
}
