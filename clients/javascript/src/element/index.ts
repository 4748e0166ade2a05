/** `<gallery-upload>`. Nothing is registered by importing: call `defineGalleryUpload()`. */

export { defineGalleryUpload } from "./define.js";
export { GalleryUploadElement, type UploadDetail } from "./element.js";
export { german } from "./german.js";
export { english, type Messages, type Plural } from "./messages.js";
export type { GetTicket, Ticket } from "./tickets.js";
export type { Entry } from "./uploads.js";
