// Maya's images, whose changes a test makes and follows.
import assert from "node:assert/strict";
import { createGallery } from "gallery-client";
import { CLOSED_URL, makeToken, promised, take } from "./support.js";

export const maya = createGallery({ url: CLOSED_URL, auth: () => makeToken() });
export const titles = (events) => events.map(({ type, title }) => (type === "image.updated" ? title : type));
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Begins to follow an image of Maya's; resolves when nothing is lost any more. */
export async function following(url, imageId, count, more = {}) {
  const gallery = createGallery({ url, auth: () => makeToken(), ...more.client });
  const open = promised();
  let opened = 0;
  const onOpen = () => {
    opened += 1;
    open.resolve();
  };
  const events = take(gallery.events({ imageId, onOpen, ...more.events }), count);
  await Promise.race([open.promise, events]);
  return { events, opened: () => opened };
}

export async function editing(id, count, each = async () => {}) {
  const wanted = Array.from({ length: count }, (_, n) => `${n}`);
  for (const title of wanted) {
    await maya.images.edit(id, { title });
    await each(Number(title));
  }
  return wanted;
}

export function checkOrder(events) {
  const ids = events.map(({ id }) => Number(id));
  assert.deepEqual(
    ids,
    [...new Set(ids)].sort((a, b) => a - b),
    "each once, in order",
  );
}
