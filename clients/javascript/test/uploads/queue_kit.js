/** What the tests of queues share. */

import { after, beforeEach } from "node:test";
import { createGallery, createUploadQueue } from "gallery-client";
import { GALLERY_URL, MIB, until } from "./kit.js";
import { NetworkProxy } from "./proxy.js";

export const LARGE = 10 * MIB;

/** The `proxy` and the `queue` of the present test. */
export const now = {};

beforeEach(async () => {
  await end();
  now.proxy = await NetworkProxy.before(GALLERY_URL);
});

after(end);

async function end() {
  now.queue?.close();
  await now.proxy?.close();
}

export function aQueue(options, gallery = {}) {
  now.queue = createUploadQueue(createGallery({ url: now.proxy.url, storage: null, ...gallery }), options);
  return now.queue;
}

export const item = (index = 0) => now.queue.items()[index];
export const states = () => now.queue.items().map(({ state }) => state);
export const all = (state) => until(() => states().every((one) => one === state), 40_000);

/** Once the large file at `index` has sent more than a chunk. */
export const halfWay = (index = 0) => until(() => item(index).sent >= 8 * MIB);
