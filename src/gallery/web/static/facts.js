/** The facts of a photo as text. */

import { inWords } from "./focus.js";

/** @typedef {import("./api.js").Image} Image */

const UNITS = ["bytes", "kB", "MB", "GB"];
const DAY = { dateStyle: "long", timeStyle: "short" };

/**
 * @param {Image} image
 * @returns {Array<[string, string]>} names and values, without empty ones
 */
export function facts(image) {
  const { camera, lens, focalLength, fNumber, exposureTime, iso, takenAt } = image.exif;
  const exposure = [
    focalLength && `${focalLength} mm`,
    fNumber && `ƒ/${fNumber}`,
    exposureTime && `${exposureTime} s`,
    iso && `ISO ${iso}`,
  ];
  const rows = [
    ["Size", `${image.width} × ${image.height} px`],
    ["File", `${image.mimeType.split("/")[1].toUpperCase()}, ${bytes(image.size)}`],
    ["Camera", camera],
    ["Lens", lens],
    ["Exposure", exposure.filter(Boolean).join(" · ")],
    ["Taken", takenAt && moment(takenAt.slice(0, 19))], // the camera's local time
    ["Added", moment(image.createdAt)],
    ["Name", image.originalName],
    ["Focus", image.focus && inWords(image.focus)],
  ];
  return rows.filter(([, value]) => value);
}

/** A row of a description list. */
export function row([name, value]) {
  const [term, details] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  details.textContent = value;
  return [term, details];
}

/** @param {number} size @returns {string} such as "3.25 MB" */
export function bytes(size) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, size)) / 3));
  return `${(size / 1000 ** power).toLocaleString(undefined, { maximumSignificantDigits: 3 })} ${UNITS[power]}`;
}

function moment(text) {
  return new Date(text).toLocaleString(undefined, DAY);
}

/** @returns {string} such as "1 photo", "2 photos" */
export function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}
