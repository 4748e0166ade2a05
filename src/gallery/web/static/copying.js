/** Addresses of a photo for the clipboard: of this page with the photo opened, and of the picture itself. */

import * as api from "./api.js";

/** @typedef {import("./api.js").Image} Image */

const SHOWN = /^image\/(jpeg|png|gif|webp|avif)$/; // by browsers, as they are
const CLOSED = document.body.hasAttribute("data-closed");

/** @param {Image} image @returns {Promise<string>} what to tell */
export async function copyPage(image) {
  return write(new URL(`#${image.id}`, location.href).href, "The link to this page is copied.");
}

/** A private photo's link is signed, and so lasts for a while. @param {Image} image @returns {Promise<string>} */
export async function copyPicture(image) {
  if (!CLOSED || image.visibility === "public") return write(absolute(best(image, api.original(image.id))), "The image's link is copied.");
  const signed = await api.sign(image.id);
  const until = new Date(signed.expiresAt).toLocaleTimeString(undefined, { timeStyle: "short" });
  return write(absolute(best({ ...image, ...signed }, signed.original)), `The image's link is copied. It works without signing in until ${until}.`);
}

const absolute = (url) => new URL(url, location.href).href;

function best({ mimeType, renditions }, original) {
  if (SHOWN.test(mimeType)) return original;
  return renditions.filter(({ format }) => format === "jpeg").sort((a, b) => b.width - a.width)[0].url;
}

async function write(text, done) {
  if (!navigator.clipboard) return `This browser copies by itself only over HTTPS. The link: ${text}`;
  return navigator.clipboard.writeText(text).then(
    () => done,
    () => "The browser did not allow copying.",
  );
}
