/** Uploads that have begun and go on later, or by another request at the same time. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createGallery } from "gallery-client";
import { far, LARGE, near, proxy } from "./far.js";
import { aPhoto, aStorage, GALLERY_URL, MIB, sha256, told, until, uploadSome } from "./kit.js";

describe("an unfinished upload", () => {
  test("goes on by another client with the same storage", async () => {
    const storage = aStorage();
    const content = await aPhoto({ size: LARGE }).arrayBuffer();
    const same = () => new File([content], "lake.jpg", { type: "image/jpeg", lastModified: 5 });
    await uploadSome(proxy, same(), storage);
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
    await uploadSome(proxy, file, null, { idempotencyKey });
    proxy.sent = 0;
    assert.equal((await far.upload(file, { idempotencyKey })).sha256, await sha256(file));
    assert.ok(proxy.sent < LARGE - 8 * MIB + 10_000, `${proxy.sent} sent`);
  });

  test("is another one with other bytes or fields", async () => {
    const storage = aStorage();
    const file = aPhoto({ size: LARGE });
    await uploadSome(proxy, file, storage);
    const other = aPhoto({ size: LARGE });
    assert.equal((await createGallery({ url: proxy.url, storage }).upload(other)).sha256, await sha256(other));
    const titled = await createGallery({ url: proxy.url, storage }).upload(file, { title: "New" });
    assert.equal(titled.title, "New");
    assert.equal(Object.keys(storage).length, 1);
  });

  test("that the server has forgotten begins anew", async () => {
    const storage = aStorage();
    const file = aPhoto({ size: LARGE });
    const path = await uploadSome(proxy, file, storage);
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
    const path = await uploadSome(proxy, file, storage);
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
  const path = await uploadSome(proxy, file, storage);
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
