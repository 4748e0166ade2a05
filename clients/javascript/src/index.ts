export { createGallery } from "./client.js";
export { type FieldProblem, GalleryError, GalleryTimeout, GalleryUnavailable } from "./errors.js";
export { createUploadQueue } from "./queue.js";
export type * from "./types.js";
export { cancelUpload } from "./upload.js";
