/** Copies a photo's URLs: of this page with the photo opened, and of the picture itself. */

import * as api from "./api.js";
import { plainFormat } from "./sources.js";

/** @typedef {import("./api.js").Image} Image */

const SHOWN = /^image\/(jpeg|png|gif|webp|avif)$/; // types that browsers can show
const CLOSED = document.body.hasAttribute("data-closed");

/** @param {Image} image @returns {Promise<string>} the message to show */
export async function copyPage(image) {
  return write(new URL(`#${image.id}`, location.href).href, "The link to this page is copied.");
}

/** A private photo's link is signed, and so it expires. @param {Image} image @returns {Promise<string>} */
export async function copyPicture(image) {
  if (!CLOSED || image.visibility === "public") return write(absolute(best(image, api.original(image.id))), "The image's link is copied.");
  const signed = await api.sign(image.id);
  const until = new Date(signed.expiresAt).toLocaleTimeString(undefined, { timeStyle: "short" });
  return write(absolute(best({ ...image, ...signed }, signed.original)), `The image's link is copied. It works without signing in until ${until}.`);
}

const absolute = (url) => new URL(url, location.href).href;

function best(image, original) {
  if (SHOWN.test(image.mimeType)) return original;
  return image.renditions.filter(({ format }) => format === plainFormat(image)).sort((a, b) => b.width - a.width)[0].url;
}

/** @param {string} text @param {string} done @returns {Promise<string>} the message to show */
export async function write(text, done) {
  if (!navigator.clipboard) return `This browser can copy only over HTTPS. The link: ${text}`;
  return navigator.clipboard.writeText(text).then(
    () => done,
    () => "The browser did not allow copying.",
  );
}
