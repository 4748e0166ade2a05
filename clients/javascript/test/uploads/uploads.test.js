/** Uploads by the JavaScript client in Node: small and large, over connections that break. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createGallery, GalleryError } from "gallery-client";
import { far, LARGE, near, proxy } from "./far.js";
import { aPhoto, aTicket, failure, GALLERY_URL, MIB, noPicture, sha256, told } from "./kit.js";
import { canned } from "./proxy.js";

const PROBLEM = JSON.stringify({ code: "overloaded", detail: "Later.", requestId: "r1" });

describe("a file", () => {
  for (const [kind, size] of [
    ["small", undefined],
    ["of 7,999,999 bytes", 7_999_999],
    ["of 8,000,000 bytes", 8_000_000],
    ["large", LARGE],
  ]) {
    test(`that is ${kind} is uploaded with all fields`, async () => {
      const file = aPhoto({ size, name: 'Zürich 🏔️\n"quoted".jpg' });
      const { image, progress } = await told(far, file, {
        title: "Ä lake",
        description: "At noon",
        alt: "A lake",
        tags: ["lake", "see, 🏔️"],
        visibility: "public",
        lane: "bulk",
        focus: { x: 0.25, y: 0.75 },
      });
      assert.equal(image.sha256, await sha256(file));
      assert.deepEqual(
        [image.title, image.description, image.alt, image.tags, image.visibility, image.focus],
        ["Ä lake", "At noon", "A lake", ["lake", "see, 🏔️"], "public", { x: 0.25, y: 0.75 }],
      );
      assert.equal(image.originalName.replaceAll(/%0A|%22|"/g, ""), "Zürich 🏔️quoted.jpg");
      assert.equal(image.duplicate, false);
      assert.deepEqual(progress.at(-1), [file.size, file.size]);
      assert.deepEqual(
        progress.map(([sent]) => sent),
        progress.map(([sent]) => sent).sort((one, other) => one - other),
      );
      assert.equal(proxy.count(/^PATCH/) > 0, file.size >= 8_000_000);
      const again = await far.upload(file);
      assert.deepEqual([again.id, again.duplicate], [image.id, true]);
      assert.equal((await near.wait(image)).status, "READY");
    });
  }

  test("without a name is Untitled, and gets the name of the options", async () => {
    for (const size of [undefined, LARGE]) {
      const content = await aPhoto({ size }).arrayBuffer();
      assert.equal((await near.upload(new Blob([content]))).title, "Untitled");
      const named = await near.upload(new Blob([content, "2"]), { name: "pond.jpg" });
      assert.deepEqual([named.title, named.originalName], ["pond", "pond.jpg"]);
    }
  });

  test("goes by the fetch of the options", async () => {
    const urls = [];
    const own = (url, init) => {
      urls.push(String(url));
      return fetch(url, init);
    };
    const gallery = createGallery({ url: GALLERY_URL, fetch: own });
    await gallery.upload(aPhoto());
    await gallery.upload(aPhoto({ size: LARGE }));
    assert.equal(urls.length, 5); // POST; POST, PATCH × 2, GET
  });

  test("goes by an upload ticket", async () => {
    for (const size of [undefined, LARGE]) {
      const gallery = createGallery({ url: GALLERY_URL, auth: await aTicket() });
      const image = await gallery.upload(aPhoto({ size }));
      assert.equal((await gallery.images.get(image.id)).id, image.id);
      const error = await failure(gallery.upload(aPhoto({ size })));
      assert.deepEqual([error.code, error.status], ["upload_ticket_used_up", 403]);
    }
  });
});

describe("an answer", () => {
  for (const status of [408, 425, 429, 500, 502, 503, 504]) {
    test(`of ${status} is tried again`, async () => {
      proxy.answers = [[/^POST/, canned(status, PROBLEM, { "Retry-After": 0 })]];
      assert.ok((await far.upload(aPhoto())).id);
      assert.deepEqual(proxy.answers, []);
    });
  }

  test("at each step of a large file is tried again", async () => {
    proxy.answers = [/^POST/, /^PATCH/, /^GET/].map((at) => [at, canned(503, PROBLEM, { "Retry-After": 0 })]);
    assert.ok((await far.upload(aPhoto({ size: LARGE }))).id);
    assert.deepEqual(proxy.answers, []);
  });

  test("says when it is time for the next try", async () => {
    proxy.answers = [[/^POST/, canned(503, PROBLEM, { "Retry-After": 1 })]];
    const began = Date.now();
    await far.upload(aPhoto());
    assert.ok(Date.now() - began >= 1000);
  });

  test("that too many came at once is waited for, even longer than others", async () => {
    const limited = canned(429, JSON.stringify({ code: "too_many_requests", detail: "Later." }), { "Retry-After": 1 });
    proxy.answers = [
      [/^POST/, limited],
      [/^POST/, limited],
    ];
    await createGallery({ url: proxy.url, retryForMs: 500 }).upload(aPhoto());
    assert.deepEqual(proxy.answers, []);
    proxy.answers = [[/^POST/, limited]];
    const error = await failure(createGallery({ url: proxy.url, retryForMs: 0 }).upload(aPhoto()));
    assert.equal(error.code, "too_many_requests");
  });

  test("that asks for more time than there is, is the error", async () => {
    proxy.answers = [[/^POST/, canned(503, PROBLEM, { "Retry-After": 60 })]];
    const error = await failure(far.upload(aPhoto()));
    assert.ok(error instanceof GalleryError);
    assert.deepEqual([error.code, error.retryAfter, error.requestId], ["overloaded", 60, "r1"]);
  });

  test("of 401 gets a new token from the function", async () => {
    const ticket = await aTicket();
    let calls = 0;
    const auth = () => (calls++ === 0 ? "gt_old" : ticket);
    const image = await createGallery({ url: proxy.url, auth }).upload(aPhoto());
    assert.equal(image.status, "PENDING");
    assert.equal(proxy.count(/^POST/), 2);
    const refused = await failure(createGallery({ url: proxy.url, auth: "gt_old" }).upload(aPhoto({ size: LARGE })));
    assert.deepEqual([refused.code, refused.status], ["credential_not_valid", 401]);
  });

  test("that refuses is not tried again", async () => {
    const cases = [
      [aPhoto(), { title: "x".repeat(121) }, "invalid_field", 422],
      [aPhoto({ size: LARGE }), { title: "x".repeat(121) }, "invalid_field", 422],
      [noPicture(1000), {}, "not_a_picture", 415],
      [noPicture(9_000_000), {}, "not_a_picture", 415],
      [new File([], "empty.jpg"), {}, "not_a_picture", 415],
      [aPhoto({ size: 65 * MIB }), {}, "too_large", 413],
    ];
    for (const [file, options, code, status] of cases) {
      proxy.requests = [];
      const error = await failure(far.upload(file, options));
      assert.ok(error instanceof GalleryError);
      assert.deepEqual([error.code, error.status], [code, status]);
      assert.ok(proxy.requests.length <= 2, `${code}: ${proxy.requests}`);
    }
  });

  test("of a proxy that takes less makes smaller chunks", async () => {
    const html = canned(413, "<html>", { "Content-Type": "text/html" });
    proxy.answers = Array.from({ length: 3 }, () => [/^PATCH/, html]);
    const file = aPhoto({ size: 4 * MIB + 5_000_000 });
    assert.equal((await far.upload(file)).sha256, await sha256(file));
    assert.equal(proxy.count(/^PATCH/), 3 + Math.ceil(file.size / MIB));
  });

  test("that is not Gallery's is an error", async () => {
    proxy.answers = [[/^POST/, canned(200, "<html>", { "Content-Type": "text/html" })]];
    assert.equal((await failure(far.upload(aPhoto()))).code, "answer_not_understood");
    proxy.answers = [[/^POST/, canned(201, "")]];
    assert.equal((await failure(far.upload(aPhoto({ size: LARGE })))).code, "answer_not_understood");
  });
});

test("bytes that are damaged on the way are found", async () => {
  const small = aPhoto();
  proxy.damage = [Buffer.from(await small.slice(400, 420).arrayBuffer()), "x".repeat(20)];
  const refused = await failure(far.upload(small));
  assert.deepEqual([refused.code, refused.status], ["digest_mismatch", 422]);
  assert.equal((await failure(far.upload(aPhoto({ size: LARGE })))).code, "receipt_mismatch");
});

test("the same key is the same upload", async () => {
  for (const file of [aPhoto(), aPhoto({ size: LARGE })]) {
    const idempotencyKey = `${Math.random()}`;
    const first = await near.upload(file, { idempotencyKey });
    const again = await near.upload(file, { idempotencyKey });
    assert.deepEqual([again.id, again.duplicate], [first.id, false]);
    const error = await failure(near.upload(file, { idempotencyKey, title: "Another" }));
    assert.deepEqual([error.code, error.status], ["idempotency_key_reused", 422]);
  }
});
