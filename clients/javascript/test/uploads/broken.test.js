/** Uploads over connections that break, and uploads that are aborted. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cancelUpload, createGallery, GalleryUnavailable } from "gallery-client";
import { far, LARGE, near, proxy } from "./far.js";
import { aPhoto, aStorage, failure, GALLERY_URL, MIB, noPicture, sha256, told, until, uploadSome } from "./kit.js";
import { canned } from "./proxy.js";

const PROBLEM = JSON.stringify({ code: "overloaded", detail: "Later.", requestId: "r1" });

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
    const path = await uploadSome(proxy, file, storage);
    assert.equal((await fetch(GALLERY_URL + path)).status, 200);
    await cancelUpload(file);
    assert.equal((await fetch(GALLERY_URL + path)).status, 404);
    assert.deepEqual(storage, aStorage());
    await cancelUpload(file);
    await cancelUpload(aPhoto());
  });
});
