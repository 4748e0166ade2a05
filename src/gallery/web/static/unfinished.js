/** Uploads that have begun, kept in the browser's storage: after a reload they go on as soon as their files are chosen again. */

import { list, store } from "./remembered.js";

/**
 * @typedef {object} Entry
 * @property {string} url of the upload
 * @property {string} name of the file
 * @property {number} size
 * @property {number} lastModified
 * @property {string} fingerprint
 */

const PREFIX = "gallery.upload.";
const SAMPLE = 64 * 1024; // bytes at the beginning and at the end

/**
 * Remember an upload. Other tabs leave it alone until it is released, or this page is closed.
 *
 * @returns {Promise<() => void>} releases it
 */
export async function keep(url, file) {
  const { name, size, lastModified } = file;
  store(PREFIX + url, JSON.stringify({ url, name, size, lastModified, fingerprint: await fingerprint(file) }));
  return new Promise((resolve) => {
    const none = () => {};
    const held = (lock) => (lock ? new Promise((release) => resolve(release)) : resolve(none));
    if (navigator.locks) navigator.locks.request(PREFIX + url, { ifAvailable: true }, held);
    else resolve(none); // over plain HTTP
  });
}

export function forget(url) {
  store(PREFIX + url, null);
}

/** @returns {Promise<Entry[]>} uploads that no tab is sending, in the order of their names */
export async function abandoned() {
  const locks = await navigator.locks?.query();
  const held = new Set(locks?.held.map(({ name }) => name));
  const entries = list(PREFIX).filter(([key]) => !held.has(key)).map(([, text]) => parsed(text)).filter(Boolean);
  return entries.sort((one, other) => one.name.localeCompare(other.name));
}

/** Whether the file seems to be that of the upload; its fingerprint tells for certain. @param {Entry} entry @param {File} file */
export function matches(entry, file) {
  return ["name", "size", "lastModified"].every((key) => entry[key] === file[key]);
}

/** @returns {Promise<string>} of samples of the file; empty where browsers compute none, over plain HTTP */
export async function fingerprint(file) {
  if (!crypto.subtle) return "";
  const samples = new Blob([file.slice(0, SAMPLE), file.slice(-SAMPLE)]);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await samples.arrayBuffer()));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
