import { GalleryUploadElement } from "./element.js";

/** Makes the element known to the page by this name; where it is known already, nothing happens. On a server neither. */
export function defineGalleryUpload(name = "gallery-upload"): void {
  const registry = globalThis.customElements;
  if (!registry || registry.get(name)) return;
  const isFirst = !defined;
  defined = true;
  registry.define(name, isFirst ? GalleryUploadElement : class extends GalleryUploadElement {}); // a class has one name
}

let defined = false;
