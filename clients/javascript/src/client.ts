import { followEvents } from "./events.js";
import { Http } from "./http.js";
import { createImages } from "./images.js";
import { createPictures } from "./pictures.js";
import type { Gallery, GalleryOptions, ResumeStorage } from "./types.js";
import { createUpload } from "./upload.js";
import { createWaits } from "./wait.js";

/** A client of the Gallery at `url`. It opens nothing until its first call. Throws `TypeError` for another address. */
export function createGallery(options: GalleryOptions): Gallery {
  const http = new Http(options);
  const { wait, notify } = createWaits(http);
  return {
    url: http.url,
    images: createImages(http),
    upload: createUpload(http, options.storage === undefined ? browserStorage() : options.storage),
    wait,
    events: (wanted) => followEvents(http, wanted, notify),
    ...createPictures(http),
  };
}

function browserStorage(): ResumeStorage | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null; // the visitor's settings keep it from the page
  }
}
