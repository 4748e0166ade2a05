/** Uploads over connections that break, that are aborted, and that go on later. */

import assert from "node:assert/strict";
import { after, beforeEach, describe, test } from "node:test";
import { cancelUpload, createGallery, GalleryUnavailable } from "gallery-client";
import { aPhoto, aStorage, failure, GALLERY_URL, MIB, noPicture, sha256, until } from "./kit.js";
import { canned, NetworkProxy } from "./proxy.js";

const PROBLEM = JSON.stringify({ code: "overloaded", detail: "Later.", requestId: "r1" });
const LARGE = 9 * MIB; // two chunks

let proxy;
let far; // a client behind the proxy
const near = createGallery({ url: GALLERY_URL });

beforeEach(async () => {
  await proxy?.close();
  proxy = await NetworkProxy.before(GALLERY_URL);
  far = createGallery({ url: proxy.url, storage: null });
});

after(() => proxy?.close());

/** Uploads, and what the progress was. */
async function told(gallery, file, options = {}) {
  const progress = [];
  const image = await gallery.upload(file, { ...options, onProgress: (sent, total) => progress.push([sent, total]) });
  return { image, progress };
}

describe("a connection that breaks", () => {
  test("costs less than a chunk of a large file", async () => {
    const file = aPhoto({ size: LARGE });
    proxy.cuts = [3_000_000, 3_000_000];
    const { image, progress } = await told(far, file);
    assert.equal(image.sha256, await sha256(file));
    assert.deepEqual(proxy.cuts, []);
    assert.ok(proxy.sent < file.size + 2 * MIB, `${proxy.sent - file.size} bytes sent again`);
    assert.deepEqual(progress.at(-1), [file.size, file.size]);
  });

  test("before any chunk is whole, is met by smaller chunks", async () => {
    proxy.longest = 3_000_000;
    const file = aPhoto({ size: LARGE });
    assert.equal((await far.upload(file)).sha256, await sha256(file));
  });

  test("costs a small file whole, and makes one image", async () => {
    const file = aPhoto({ size: 2 * MIB });
    proxy.cuts = [MIB];
    const image = await far.upload(file, { tags: [`${Math.random()}`] });
    assert.equal(image.duplicate, false);
    assert.ok(proxy.sent < 3.5 * MIB);
  });

  for (const size of [undefined, LARGE]) {
    for (const lost of size ? [/^POST/, /^PATCH/, /^GET/] : [/^POST/]) {
      test(`and loses the answer to ${lost} of a file of ${size ?? "few"} bytes makes one image`, async () => {
        const tag = `${Math.random()}`;
        proxy.lost = [lost];
        const image = await far.upload(aPhoto({ size }), { tags: [tag] });
        assert.deepEqual(proxy.lost, []);
        assert.equal(image.duplicate, false);
        const { images } = await near.images.page({ tags: [tag] });
        assert.deepEqual(
          images.map(({ id }) => id),
          [image.id],
        );
      });
    }
  }

  test("and loses the answer to the last byte is nothing new", async () => {
    const file = aPhoto({ size: LARGE });
    const onProgress = (sent) => {
      if (sent === 8 * MIB) proxy.lost = [/^PATCH/];
    };
    const image = await far.upload(file, { onProgress });
    assert.deepEqual([image.sha256, image.duplicate], [await sha256(file), false]);
    assert.deepEqual(proxy.lost, []);
    assert.equal(proxy.count(/^PATCH/), 2);
  });

  test("and a refusal whose answer was lost is told", async () => {
    proxy.lost = [/^PATCH/, /^PATCH/, /^PATCH/];
    const error = await failure(far.upload(noPicture(9_000_000)));
    assert.deepEqual([error.code, error.status], ["not_a_picture", 415]);
  });

  test("is told as such once it is too late", async () => {
    const gallery = createGallery({ url: "http://127.0.0.1:1", retryForMs: 0 });
    for (const size of [undefined, LARGE]) {
      const error = await failure(gallery.upload(aPhoto({ size })));
      assert.ok(error instanceof GalleryUnavailable);
      assert.deepEqual([error.code, error.status], ["unavailable", undefined]);
    }
  });
});

describe("an abort", () => {
  test("ends an upload with its reason, at any moment", async () => {
    const reason = new Error("enough");
    assert.equal(await failure(near.upload(aPhoto(), { signal: AbortSignal.abort(reason) })), reason);
    assert.equal(await failure(near.upload(aPhoto({ size: LARGE }), { signal: AbortSignal.abort(reason) })), reason);
    proxy.delay = 20;
    for (const size of [4 * MIB, LARGE]) {
      for (const request of [/^POST/, /^PATCH/]) {
        if (size < LARGE && request.source === "^PATCH") continue;
        const stop = new AbortController();
        proxy.requests = [];
        const uploading = failure(far.upload(aPhoto({ size }), { signal: stop.signal }));
        await until(() => proxy.count(request));
        stop.abort(reason);
        assert.equal(await uploading, reason);
      }
    }
  });

  test("ends a pause", async () => {
    proxy.answers = [[/^POST/, canned(503, PROBLEM, { "Retry-After": 20 })]];
    const stop = new AbortController();
    const uploading = failure(far.upload(aPhoto(), { signal: stop.signal }));
    await until(() => proxy.count(/^POST/));
    const began = Date.now();
    setTimeout(() => stop.abort(), 200);
    assert.equal((await uploading).name, "AbortError");
    assert.ok(Date.now() - began < 2000);
  });

  test("leaves what has arrived until it is cancelled", async () => {
    const file = aPhoto({ size: LARGE });
    const storage = aStorage();
    const path = await uploadSome(file, storage);
    assert.equal((await fetch(GALLERY_URL + path)).status, 200);
    await cancelUpload(file);
    assert.equal((await fetch(GALLERY_URL + path)).status, 404);
    assert.deepEqual(storage, aStorage());
    await cancelUpload(file);
    await cancelUpload(aPhoto());
  });
});

/** Sends 8 MiB of the file and some, then stops; the path of the upload. */
async function uploadSome(file, storage, options = {}) {
  const stop = new AbortController();
  const gallery = createGallery({ url: proxy.url, storage });
  const onProgress = (sent) => sent >= 8 * MIB && stop.abort();
  assert.equal(
    (await failure(gallery.upload(file, { ...options, onProgress, signal: stop.signal }))).name,
    "AbortError",
  );
  return proxy.requests.find((request) => request.startsWith("PATCH")).split(" ")[1];
}

describe("an unfinished upload", () => {
  test("goes on by another client with the same storage", async () => {
    const storage = aStorage();
    const content = await aPhoto({ size: LARGE }).arrayBuffer();
    const same = () => new File([content], "lake.jpg", { type: "image/jpeg", lastModified: 5 });
    await uploadSome(same(), storage);
    assert.equal(Object.keys(storage).length, 1);
    proxy.sent = 0;
    const { image, progress } = await told(createGallery({ url: proxy.url, storage }), same());
    assert.equal(image.sha256, await sha256(same()));
    assert.ok(proxy.sent < LARGE - 8 * MIB + 10_000, `${proxy.sent} sent`);
    assert.ok(progress[0][0] >= 8 * MIB);
    assert.deepEqual(Object.keys(storage), []);
  });

  test("goes on without a storage by its key", async () => {
    const file = aPhoto({ size: LARGE });
    const idempotencyKey = `${Math.random()}`;
    await uploadSome(file, null, { idempotencyKey });
    proxy.sent = 0;
    assert.equal((await far.upload(file, { idempotencyKey })).sha256, await sha256(file));
    assert.ok(proxy.sent < LARGE - 8 * MIB + 10_000, `${proxy.sent} sent`);
  });

  test("is another one with other bytes or fields", async () => {
    const storage = aStorage();
    const file = aPhoto({ size: LARGE });
    await uploadSome(file, storage);
    const other = aPhoto({ size: LARGE });
    assert.equal((await createGallery({ url: proxy.url, storage }).upload(other)).sha256, await sha256(other));
    const titled = await createGallery({ url: proxy.url, storage }).upload(file, { title: "New" });
    assert.equal(titled.title, "New");
    assert.equal(Object.keys(storage).length, 1);
  });

  test("that the server has forgotten begins anew", async () => {
    const storage = aStorage();
    const file = aPhoto({ size: LARGE });
    const path = await uploadSome(file, storage);
    await fetch(GALLERY_URL + path, { method: "DELETE" });
    const image = await createGallery({ url: proxy.url, storage }).upload(file);
    assert.equal(image.sha256, await sha256(file));
    assert.deepEqual(Object.keys(storage), []);
  });

  test("that is forgotten while it is sent begins anew", async () => {
    const file = aPhoto({ size: LARGE });
    let forgotten;
    const onProgress = (sent) => {
      if (sent !== 8 * MIB || forgotten) return;
      const path = proxy.requests.find((request) => request.startsWith("PATCH")).split(" ")[1];
      forgotten = fetch(GALLERY_URL + path, { method: "DELETE" });
      proxy.delay = 5; // the next chunk comes later
    };
    assert.equal((await far.upload(file, { onProgress })).sha256, await sha256(file));
    assert.equal((await forgotten).status, 204);
  });

  test("whose image was deleted meanwhile begins anew", async () => {
    const storage = aStorage();
    const file = aPhoto({ size: LARGE });
    const path = await uploadSome(file, storage);
    const { received } = await (await fetch(GALLERY_URL + path)).json();
    const rest = await fetch(GALLERY_URL + path, {
      method: "PATCH",
      headers: {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": received,
        "Content-Type": "application/offset+octet-stream",
      },
      body: file.slice(received),
    });
    await near.images.delete(rest.headers.get("Gallery-Image"));
    const image = await createGallery({ url: proxy.url, storage }).upload(file);
    assert.equal(image.sha256, await sha256(file));
    assert.notEqual(image.id, rest.headers.get("Gallery-Image"));
  });

  test("that has expired leaves the storage with the next one", async () => {
    const storage = aStorage();
    storage["gallery-upload:old"] = `${Date.now() - 1} /uploads/1`;
    storage.theirs = "1 2";
    await createGallery({ url: GALLERY_URL, storage }).upload(aPhoto({ size: LARGE }));
    assert.deepEqual(Object.keys(storage), ["theirs"]);
  });

  test("is no harm where the storage is", async () => {
    const refuse = () => {
      throw new Error("full");
    };
    const storage = { getItem: refuse, setItem: refuse, removeItem: refuse };
    assert.ok((await createGallery({ url: GALLERY_URL, storage }).upload(aPhoto({ size: LARGE }))).id);
  });
});

test("two uploads of a file at once, with one storage, are one image", async () => {
  for (const storage of [aStorage()]) {
    const file = aPhoto({ size: LARGE });
    const gallery = createGallery({ url: proxy.url, storage });
    const first = gallery.upload(file);
    await until(() => Object.keys(storage).length);
    const images = await Promise.all([
      first,
      gallery.upload(file),
      createGallery({ url: proxy.url, storage }).upload(file),
    ]);
    assert.equal(new Set(images.map(({ id }) => id)).size, 1);
    assert.deepEqual(Object.keys(storage), []);
  }
});

test("an upload that another request has is waited for", async () => {
  const storage = aStorage();
  const file = aPhoto({ size: LARGE });
  const path = await uploadSome(file, storage);
  const { received } = await (await fetch(GALLERY_URL + path)).json();
  const { port, hostname } = new URL(GALLERY_URL);
  const { connect } = await import("node:net");
  const other = connect(Number(port), hostname);
  other.write(
    `PATCH ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: ${received}\r\n` +
      `Content-Type: application/offset+octet-stream\r\nContent-Length: 1000\r\n\r\n`,
  );
  await new Promise((resolve) => setTimeout(resolve, 300));
  setTimeout(() => other.destroy(), 1500);
  const image = await createGallery({ url: proxy.url, storage }).upload(file);
  assert.equal(image.sha256, await sha256(file));
});
