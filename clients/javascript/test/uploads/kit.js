/** What the tests of uploads share: files, storages, tickets. */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createGallery } from "gallery-client";

/** Of a Gallery with a worker, which takes files of 64 MiB. */
export const { GALLERY_URL } = process.env;

const photo = readFileSync(process.env.PHOTO);

export const MIB = 1024 * 1024;

/** A photo of so many bytes, which nobody has uploaded; decoders ignore what follows a JPEG's end. */
export function aPhoto({ size = photo.length + 100, name = "lake.jpg", lastModified = 1_700_000_000_000 } = {}) {
  const rest = randomBytes(size - photo.length);
  return new File([photo, rest], name, { type: "image/jpeg", lastModified });
}

export function noPicture(size) {
  return new File([Buffer.alloc(size, "no picture ")], "notes.txt", { type: "text/plain", lastModified: 1 });
}

export async function sha256(file) {
  return createHash("sha256")
    .update(new Uint8Array(await file.arrayBuffer()))
    .digest("hex");
}

/** An upload ticket for one image. */
export async function aTicket() {
  const headers = { "Content-Type": "application/json" };
  const made = await fetch(`${GALLERY_URL}/api/v1/uploads/ticket`, { method: "POST", headers, body: '{"uses": 1}' });
  return (await made.json()).ticket;
}

/** As `localStorage`. */
export function aStorage() {
  const entries = {};
  const define = (name, value) => Object.defineProperty(entries, name, { value, enumerable: false });
  define("getItem", (name) => entries[name] ?? null);
  define("setItem", (name, value) => {
    entries[name] = value;
  });
  define("removeItem", (name) => {
    delete entries[name];
  });
  return entries;
}

export async function until(condition, ms = 20_000) {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The error of a promise that rejects. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it has not failed");
}

/** Sends 8 MiB of the file and some, then stops; the path of the upload. */
export async function uploadSome(proxy, file, storage, options = {}) {
  const stop = new AbortController();
  const gallery = createGallery({ url: proxy.url, storage });
  const onProgress = (sent) => sent >= 8 * MIB && stop.abort();
  assert.equal(
    (await failure(gallery.upload(file, { ...options, onProgress, signal: stop.signal }))).name,
    "AbortError",
  );
  return proxy.requests.find((request) => request.startsWith("PATCH")).split(" ")[1];
}

/** Uploads, and what the progress was. */
export async function told(gallery, file, options = {}) {
  const progress = [];
  const image = await gallery.upload(file, { ...options, onProgress: (sent, total) => progress.push([sent, total]) });
  return { image, progress };
}
