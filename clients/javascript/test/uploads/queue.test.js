/** Queues of uploads in Node, before a Gallery with a worker. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createGallery, createUploadQueue } from "gallery-client";
import { aPhoto, aStorage, GALLERY_URL, MIB, sha256, until } from "./kit.js";
import { canned } from "./proxy.js";
import { all, aQueue, halfWay, item, LARGE, now, states } from "./queue_kit.js";

const near = createGallery({ url: GALLERY_URL });

describe("a queue", () => {
  test("follows all files until they are READY, by one stream", async () => {
    const files = Array.from({ length: 7 }, (_, index) => aPhoto({ name: `${index}.jpg` }));
    const seen = new Set();
    aQueue({ fields: { tags: ["all"], alt: "A lake" } }).subscribe(() => seen.add(states().join()));
    const added = now.queue.add(files, { alt: "Another" });
    assert.deepEqual(added, now.queue.items());
    assert.deepEqual(
      added.map(({ file }) => file),
      files,
    );
    await all("ready");
    for (const { image, file, sent, total } of now.queue.items()) {
      assert.deepEqual([image.status, image.originalName], ["READY", file.name]);
      assert.deepEqual([image.tags, image.alt], [["all"], "Another"]);
      assert.ok(image.renditions.length);
      assert.deepEqual([sent, total], [file.size, file.size]);
    }
    assert.equal(now.proxy.count(/notifications/), 1);
    assert.ok(
      [...seen].every((one) => one.split("uploading").length <= 4),
      "three at once",
    );
    assert.ok([...seen].some((one) => one.includes("processing")));
  });

  test("is a store of snapshots", async () => {
    let notified = 0;
    const leave = aQueue().subscribe(() => notified++);
    const before = now.queue.items();
    assert.equal(now.queue.items(), before);
    now.queue.add([aPhoto()]);
    const added = now.queue.items();
    assert.notEqual(added, before);
    assert.equal(before.length, 0);
    assert.equal(now.queue.items(), added);
    const [first] = added;
    await all("ready");
    assert.equal(first.state, "waiting");
    assert.notEqual(item(), first);
    assert.ok(notified >= 3);
    leave();
    const told = notified;
    now.queue.remove(item().id);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(notified, told);
  });

  test("tells progress at most every 100 ms", async () => {
    now.proxy.delay = 3;
    let notified = 0;
    const gallery = createGallery({ url: now.proxy.url, storage: null });
    const eager = {
      ...gallery,
      async upload(file, options) {
        const timer = setInterval(() => options.onProgress(Math.random()), 1);
        return gallery.upload(file, options).finally(() => clearInterval(timer));
      },
    };
    now.queue = createUploadQueue(eager, { wait: false });
    now.queue.subscribe(() => notified++);
    const began = Date.now();
    now.queue.add([aPhoto({ size: LARGE })]);
    await all("ready");
    assert.ok(notified <= (Date.now() - began) / 100 + 4, `${notified} in ${Date.now() - began} ms`);
    assert.ok(notified > 3);
  });

  test("is ready with the stored image if it shall not wait", async () => {
    aQueue({ wait: false }).add([aPhoto()]);
    await all("ready");
    assert.equal(item().image.status, "PENDING");
    assert.equal(now.proxy.count(/notifications/), 0);
  });

  test("has functions that may be taken from it, and from a proxy of it", async () => {
    const { add, items, pause, resume, retry, remove } = new Proxy(aQueue({ wait: false }), {});
    const [{ id }] = add([aPhoto()]);
    pause(id);
    resume();
    retry();
    await all("ready");
    remove(id);
    assert.deepEqual(items(), []);
  });

  test("takes the same file twice", async () => {
    const file = aPhoto();
    aQueue().add([file, file]);
    await all("ready");
    assert.equal(item(0).image.id, item(1).image.id);
  });

  test("goes as many at once as it may", async () => {
    let most = 0;
    aQueue({ concurrency: 1, wait: false }).subscribe(() => {
      most = Math.max(most, states().filter((state) => state === "uploading").length);
    });
    now.queue.add([aPhoto(), aPhoto(), aPhoto()]);
    await all("ready");
    assert.equal(most, 1);
  });
});

describe("a pause", () => {
  test("costs no byte that has arrived", async () => {
    const file = aPhoto({ size: LARGE });
    now.proxy.delay = 5;
    aQueue().add([file]);
    await halfWay();
    now.queue.pause();
    assert.deepEqual(states(), ["paused"]);
    assert.ok(item().sent >= 8 * MIB);
    const requests = now.proxy.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal(now.proxy.requests.length, requests, "nothing is sent meanwhile");
    now.queue.resume(item().id);
    await all("ready");
    assert.equal(item().image.sha256, await sha256(file));
    assert.ok(now.proxy.sent < LARGE + 8 * MIB, `${now.proxy.sent - LARGE} bytes again`);
    assert.equal(now.proxy.count(/^POST \S+uploads/) <= 2, true);
  });

  test("holds one file, and the next goes", async () => {
    aQueue({ concurrency: 1, wait: false }).add([aPhoto(), aPhoto(), aPhoto()]);
    now.queue.pause(item(0).id);
    now.queue.pause(item(2).id);
    await until(() => states().join() === "paused,ready,paused");
    now.queue.resume();
    await all("ready");
  });

  test("and a resume at once do not make two uploads", async () => {
    const tags = [`${Math.random()}`];
    aQueue({ fields: { tags } }).add([aPhoto({ size: LARGE }), aPhoto()]);
    for (let times = 0; times < 5; times++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      now.queue.pause();
      now.queue.resume();
    }
    await all("ready");
    assert.equal((await near.images.page({ tags })).images.length, 2);
    assert.deepEqual(
      now.queue.items().map(({ image }) => image.duplicate),
      [false, false],
    );
  });
});

describe("a removal", () => {
  const underWay = async () => {
    const path = now.proxy.requests.find((request) => request.startsWith("PATCH")).split(" ")[1];
    return (await fetch(GALLERY_URL + path)).status;
  };

  test("also removes what has arrived", async () => {
    const storage = aStorage();
    now.proxy.delay = 5;
    aQueue({}, { storage }).add([aPhoto({ size: LARGE })]);
    await halfWay();
    now.queue.remove(item().id);
    assert.deepEqual(now.queue.items(), []);
    await until(async () => (await underWay()) === 404);
    assert.deepEqual(Object.keys(storage), []);
  });

  test("of a paused upload, too", async () => {
    now.proxy.delay = 5;
    aQueue().add([aPhoto({ size: LARGE })]);
    await halfWay();
    now.queue.pause();
    assert.equal(await underWay(), 200);
    now.queue.remove(item().id);
    await until(async () => (await underWay()) === 404);
  });

  test("leaves the image, unless it shall be deleted, and was not there before", async () => {
    const known = aPhoto();
    const { id } = await near.upload(known); // it may still be PENDING
    const exists = async (image) => (await fetch(`${GALLERY_URL}/api/v1/images/${image.id}`)).status === 200;
    for (const deleteRemoved of [false, true]) {
      aQueue({ deleteRemoved }).add([aPhoto(), known]);
      await all("ready");
      const { image } = item();
      now.queue.remove(item(1).id);
      now.queue.remove(item(0).id);
      now.queue.remove("unknown");
      if (deleteRemoved) await until(async () => !(await exists(image)));
      else assert.ok(await exists(image));
      assert.ok(await exists({ id }));
    }
  });

  test("that cannot delete its image brings the item back", async () => {
    aQueue({ deleteRemoved: true }).add([aPhoto()]);
    await all("ready");
    now.proxy.answers = [[/^DELETE/, canned(403, JSON.stringify({ code: "scope_missing", detail: "No." }))]];
    now.queue.remove(item().id);
    await until(() => states().join() === "failed");
    assert.equal(item().error.code, "scope_missing");
    now.queue.retry();
    await all("ready");
    now.queue.remove(item().id);
    await until(() => now.proxy.count(/^DELETE/) === 2);
  });
});

test("a queue that is closed does nothing more", async () => {
  let notified = 0;
  now.proxy.delay = 5;
  aQueue().subscribe(() => notified++);
  now.queue.add([aPhoto({ size: LARGE }), aPhoto(), aPhoto(), aPhoto()]);
  await halfWay();
  now.queue.close();
  const told = [now.proxy.requests.length, notified];
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.deepEqual([now.proxy.requests.length, notified], told);
  assert.throws(() => now.queue.add([aPhoto()]), /closed/);
  now.queue.resume();
  now.queue.close();
});
