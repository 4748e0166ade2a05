export { createGallery } from "./client.js";
export { type FieldProblem, GalleryError, GalleryTimeout, GalleryUnavailable } from "./errors.js";
export type * from "./types.js";
