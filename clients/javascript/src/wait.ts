/**
 * Waits for images. All that are waited for are asked for together, again and again: this goes through every proxy, takes
 * none of the few connections that a browser has for one server, and costs the same for one image as for a hundred.
 */

import { GalleryError, GalleryTimeout } from "./errors.js";
import type { Http } from "./http.js";
import { imagePath } from "./images.js";
import type { Gallery, GalleryEvent, Image } from "./types.js";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;
const MAX_MS = 2 ** 31 - 1; // of a timer
const ASKED_AT_ONCE = 100; // ids make long URLs

interface Waiter {
  readonly id: string;
  resolve(image: Image): void;
  reject(error: unknown): void;
}

export interface Waits {
  wait: Gallery["wait"];
  /** An event has told of this image: look now. */
  notify(event: GalleryEvent): void;
}

export function createWaits(http: Http): Waits {
  const waiters = new Set<Waiter>();
  let running = false;
  let wake = () => {};

  const look = async (asked: Waiter[]) => {
    let images = new Map<string, Image>();
    let failure: unknown = new GalleryError("image_not_found", "The image is gone.", { status: 404 });
    try {
      images = await read(http, [...new Set(asked.map((waiter) => waiter.id))]);
    } catch (error) {
      failure = error;
    }
    for (const waiter of asked) {
      const image = images.get(waiter.id);
      if (image && !isSettled(image)) continue;
      waiters.delete(waiter);
      if (image) waiter.resolve(image);
      else waiter.reject(failure);
    }
  };
  const run = async () => {
    for (let pause = FIRST_PAUSE_MS; waiters.size; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (waiters.size) await look([...waiters]);
    }
    running = false;
  };
  const settled = (id: string, over: AbortSignal) =>
    new Promise<Image>((resolve, reject) => {
      const waiter = { id, resolve, reject };
      over.addEventListener("abort", () => {
        waiters.delete(waiter);
        if (!waiters.size) wake();
        reject(over.reason);
      });
      waiters.add(waiter);
      if (!running) {
        running = true;
        run();
      }
    });
  return {
    notify({ imageId }) {
      for (const waiter of waiters) if (waiter.id === imageId) wake();
    },
    async wait(image, { timeoutMs = 60_000, signal } = {}) {
      const id = typeof image === "string" ? image : image.id;
      signal?.throwIfAborted();
      const over = new AbortController();
      const stop = () => over.abort(signal?.reason);
      const detail = `The image was neither READY nor FAILED after ${timeoutMs / 1000} seconds.`;
      const late = () => over.abort(new GalleryTimeout("not_ready_in_time", detail));
      const timer = setTimeout(late, Math.min(timeoutMs, MAX_MS));
      signal?.addEventListener("abort", stop);
      try {
        const found = await http.json<Image>("GET", imagePath(id), { signal: over.signal });
        return ready(isSettled(found) ? found : await settled(found.id, over.signal));
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", stop);
      }
    },
  };
}

function isSettled({ status }: Image): boolean {
  return status === "READY" || status === "FAILED";
}

function ready(image: Image): Image {
  if (image.status === "READY") return image;
  const { code, message } = image.error ?? { code: "unknown", message: "The image has FAILED." };
  throw new GalleryError(code, message);
}

async function read(http: Http, ids: string[]): Promise<Map<string, Image>> {
  const found: Image[] = [];
  const [first = ""] = ids;
  if (ids.length === 1) found.push(await http.json<Image>("GET", imagePath(first)));
  else
    for (let start = 0; start < ids.length; start += ASKED_AT_ONCE) {
      const query: [string, string][] = [["ids", ids.slice(start, start + ASKED_AT_ONCE).join()]];
      found.push(...(await http.json<Image[]>("GET", "/images", { query })));
    }
  return new Map(found.map((image) => [image.id, image]));
}
