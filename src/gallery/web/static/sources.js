/** The renditions of an image in the formats that it has, for a `picture` element. */

/** @typedef {import("./api.js").Image} Image */

const PLAIN = "jpeg"; // that every browser shows

/** The format of the `img`, for browsers that show none of the others. @param {Image} image @returns {string | undefined} */
export function plainFormat({ srcset }) {
  return PLAIN in srcset ? PLAIN : Object.keys(srcset).at(-1);
}

/** The `srcset` of the `img`; it differs when the renditions do. @param {Image} image */
export function plainSrcset(image) {
  return image.srcset[plainFormat(image)] ?? "";
}

/** A `source` for each other format, the best first. @param {Image} image @param {string} sizes */
export function sources(image, sizes) {
  return Object.entries(image.srcset)
    .filter(([format]) => format !== plainFormat(image))
    .map(([format, srcset]) => Object.assign(document.createElement("source"), { type: `image/${format}`, sizes, srcset }));
}
