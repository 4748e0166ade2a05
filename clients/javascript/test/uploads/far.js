/** A client at Gallery, and one behind a proxy that each test gets anew. */

import { after, beforeEach } from "node:test";
import { createGallery } from "gallery-client";
import { GALLERY_URL, MIB } from "./kit.js";
import { NetworkProxy } from "./proxy.js";

export const LARGE = 9 * MIB; // two chunks
export const near = createGallery({ url: GALLERY_URL });
export let proxy;
export let far; // a client behind the proxy

beforeEach(async () => {
  await proxy?.close();
  proxy = await NetworkProxy.before(GALLERY_URL);
  far = createGallery({ url: proxy.url, storage: null });
});

after(() => proxy?.close());
