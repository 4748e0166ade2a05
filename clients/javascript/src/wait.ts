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

export interface Waits {
  wait: Gallery["wait"];
  /** An event has told of this image: look now. */
  notify(event: GalleryEvent): void;
}

export function createWaits(http: Http): Waits {
  let asked = new Set<string>();
  let next: Promise<Map<string, Image>> | undefined;
  let wake = () => {};

  const look = async (pause: number) => {
    await new Promise<void>((resolve) => {
      wake = resolve;
      setTimeout(resolve, pause);
    });
    const ids = [...asked];
    asked = new Set();
    next = undefined;
    return read(http, ids);
  };
  const settled = async (id: string, signal: AbortSignal) => {
    const over = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
    over.catch(() => {}); // it may come when none waits any more
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
      asked.add(id);
      next ??= look(pause);
      next.catch(() => {});
      const image = (await Promise.race([next, over])).get(id);
      if (!image) throw new GalleryError("image_not_found", "The image is gone.", { status: 404 });
      if (isSettled(image)) return image;
    }
  };
  return {
    notify({ imageId = "" }) {
      if (asked.has(imageId)) wake();
    },
    async wait(image, { timeoutMs = 60_000, signal } = {}) {
      const id = typeof image === "string" ? image : image.id;
      const over = new AbortController();
      const stop = () => over.abort(signal?.reason);
      const detail = `The image was neither READY nor FAILED after ${timeoutMs / 1000} seconds.`;
      const late = () => over.abort(new GalleryTimeout("not_ready_in_time", detail));
      const timer = setTimeout(late, Math.min(timeoutMs, MAX_MS));
      signal?.addEventListener("abort", stop);
      try {
        signal?.throwIfAborted();
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
  while (ids.length > 1) {
    const query: [string, string][] = [["ids", ids.splice(0, ASKED_AT_ONCE).join()]];
    found.push(...(await http.json<Image[]>("GET", "/images", { query })));
  }
  for (const id of ids) found.push(await http.json<Image>("GET", imagePath(id)));
  return new Map(found.map((image) => [image.id, image]));
}
