/** Queues of uploads in Node, before a Gallery with a worker. */

import assert from "node:assert/strict";
import { after, beforeEach, describe, test } from "node:test";
import { createGallery, createUploadQueue } from "gallery-client";
import { aPhoto, aStorage, GALLERY_URL, MIB, noPicture, sha256, until } from "./kit.js";
import { canned, NetworkProxy } from "./proxy.js";

const LARGE = 12 * MIB;
const LATER = canned(503, JSON.stringify({ code: "overloaded", detail: "Later." }), { "Retry-After": 0 });

let proxy;
let queue;
const near = createGallery({ url: GALLERY_URL });

beforeEach(async () => {
  queue?.close();
  await proxy?.close();
  proxy = await NetworkProxy.before(GALLERY_URL);
});

after(async () => {
  queue?.close();
  await proxy?.close();
});

function aQueue(options, gallery = {}) {
  queue = createUploadQueue(createGallery({ url: proxy.url, storage: null, ...gallery }), options);
  return queue;
}

const states = () => queue.items().map(({ state }) => state);
const all = (state) => until(() => states().every((one) => one === state), 40_000);
const item = (index = 0) => queue.items()[index];

/** Once the large file at `index` has sent more than a chunk. */
const halfWay = (index = 0) => until(() => item(index).sent >= 8 * MIB);

describe("a queue", () => {
  test("follows all files until they are READY, by one stream", async () => {
    const files = Array.from({ length: 7 }, (_, index) => aPhoto({ name: `${index}.jpg` }));
    const seen = new Set();
    aQueue({ fields: { tags: ["all"], alt: "A lake" } }).subscribe(() => seen.add(states().join()));
    const added = queue.add(files, { alt: "Another" });
    assert.deepEqual(added, queue.items());
    assert.deepEqual(
      added.map(({ file }) => file),
      files,
    );
    await all("ready");
    for (const { image, file, sent, total } of queue.items()) {
      assert.deepEqual([image.status, image.originalName], ["READY", file.name]);
      assert.deepEqual([image.tags, image.alt], [["all"], "Another"]);
      assert.ok(image.renditions.length);
      assert.deepEqual([sent, total], [file.size, file.size]);
    }
    assert.equal(proxy.count(/notifications/), 1);
    assert.ok(
      [...seen].every((one) => one.split("uploading").length <= 4),
      "three at once",
    );
    assert.ok([...seen].some((one) => one.includes("processing")));
  });

  test("is a store of snapshots", async () => {
    let notified = 0;
    const leave = aQueue().subscribe(() => notified++);
    const before = queue.items();
    assert.equal(queue.items(), before);
    queue.add([aPhoto()]);
    const added = queue.items();
    assert.notEqual(added, before);
    assert.equal(before.length, 0);
    assert.equal(queue.items(), added);
    const [first] = added;
    await all("ready");
    assert.equal(first.state, "waiting");
    assert.notEqual(item(), first);
    assert.ok(notified >= 3);
    leave();
    const told = notified;
    queue.remove(item().id);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(notified, told);
  });

  test("tells progress at most every 100 ms", async () => {
    proxy.delay = 3;
    let notified = 0;
    const gallery = createGallery({ url: proxy.url, storage: null });
    const eager = {
      ...gallery,
      async upload(file, options) {
        const timer = setInterval(() => options.onProgress(Math.random()), 1);
        return gallery.upload(file, options).finally(() => clearInterval(timer));
      },
    };
    queue = createUploadQueue(eager, { wait: false });
    queue.subscribe(() => notified++);
    const began = Date.now();
    queue.add([aPhoto({ size: LARGE })]);
    await all("ready");
    assert.ok(notified <= (Date.now() - began) / 100 + 4, `${notified} in ${Date.now() - began} ms`);
    assert.ok(notified > 3);
  });

  test("is ready with the stored image if it shall not wait", async () => {
    aQueue({ wait: false }).add([aPhoto()]);
    await all("ready");
    assert.equal(item().image.status, "PENDING");
    assert.equal(proxy.count(/notifications/), 0);
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
    queue.add([aPhoto(), aPhoto(), aPhoto()]);
    await all("ready");
    assert.equal(most, 1);
  });
});

describe("events", () => {
  test("that are lost with their stream are made up for", async () => {
    proxy.answers = Array.from({ length: 3 }, () => [/notifications/, LATER]);
    aQueue().add([aPhoto(), aPhoto()]);
    await all("ready");
  });

  test("that are refused are replaced by reading", async () => {
    const refused = canned(403, JSON.stringify({ code: "scope_missing", detail: "No." }));
    proxy.answers = Array.from({ length: 9 }, () => [/notifications/, refused]);
    aQueue().add([aPhoto()]);
    await all("ready");
  });

  test("come again after a broken connection", async () => {
    aQueue().add([aPhoto({ size: LARGE })]);
    await until(() => states()[0] === "processing");
    proxy.breakAll();
    await all("ready");
  });
});

describe("a file that fails", () => {
  test("has the error of the upload", async () => {
    aQueue().add([noPicture(1000), noPicture(9_000_000), aPhoto()]);
    await until(() => states().join() === "failed,failed,ready");
    assert.deepEqual(
      queue.items().map(({ error }) => error?.code),
      ["not_a_picture", "not_a_picture", undefined],
    );
    queue.retry(item(1).id);
    await until(() => item(1).state === "uploading");
    await until(() => item(1).state === "failed");
    assert.equal(item(1).error.code, "not_a_picture");
  });

  test("has the error of the image, and is tried anew", async () => {
    const whole = aPhoto();
    const broken = new File([whole.slice(0, 700), Buffer.alloc(3000)], "broken.jpg", { type: "image/jpeg" });
    aQueue().add([broken]);
    await until(() => states()[0] === "failed");
    const { image, error } = item();
    assert.equal(image.status, "FAILED");
    assert.equal(error.code, image.error.code);
    queue.retry();
    await until(() => item().image?.attempts > image.attempts && item().state === "failed");
    assert.equal(item().image.id, image.id);
  });

  test("is tried again with its key, and makes one image", async () => {
    const tags = [`${Math.random()}`];
    aQueue({ fields: { tags } }, { retryForMs: 0 }).add([aPhoto(), aPhoto({ size: LARGE })]);
    proxy.lost = [/^POST \S+images/, /^PATCH/];
    await all("failed");
    assert.equal(item().error.code, "unavailable");
    const before = proxy.sent;
    queue.retry();
    await all("ready");
    assert.deepEqual(
      queue.items().map(({ image }) => image.duplicate),
      [false, false],
    );
    assert.equal((await near.images.page({ tags })).images.length, 2);
    assert.ok(proxy.sent - before < LARGE - 7 * MIB, "the large one went on");
  });

  test("was deleted while it was processed", async () => {
    proxy.answers = Array.from({ length: 50 }, () => [/^GET \S+(notifications|images)/, LATER]);
    aQueue().add([aPhoto()]);
    await until(() => states()[0] === "processing");
    await near.images.delete(item().image.id);
    proxy.answers = [];
    await all("failed");
    assert.equal(item().error.code, "image_not_found");
  });
});

describe("a pause", () => {
  test("costs no byte that has arrived", async () => {
    const file = aPhoto({ size: LARGE });
    proxy.delay = 5;
    aQueue().add([file]);
    await halfWay();
    queue.pause();
    assert.deepEqual(states(), ["paused"]);
    assert.ok(item().sent >= 8 * MIB);
    const requests = proxy.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal(proxy.requests.length, requests, "nothing is sent meanwhile");
    queue.resume(item().id);
    await all("ready");
    assert.equal(item().image.sha256, await sha256(file));
    assert.ok(proxy.sent < LARGE + 8 * MIB, `${proxy.sent - LARGE} bytes again`);
    assert.equal(proxy.count(/^POST \S+uploads/) <= 2, true);
  });

  test("holds one file, and the next goes", async () => {
    aQueue({ concurrency: 1, wait: false }).add([aPhoto(), aPhoto(), aPhoto()]);
    queue.pause(item(0).id);
    queue.pause(item(2).id);
    await until(() => states().join() === "paused,ready,paused");
    queue.resume();
    await all("ready");
  });

  test("and a resume at once do not make two uploads", async () => {
    const tags = [`${Math.random()}`];
    aQueue({ fields: { tags } }).add([aPhoto({ size: LARGE }), aPhoto()]);
    for (let times = 0; times < 5; times++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      queue.pause();
      queue.resume();
    }
    await all("ready");
    assert.equal((await near.images.page({ tags })).images.length, 2);
    assert.deepEqual(
      queue.items().map(({ image }) => image.duplicate),
      [false, false],
    );
  });
});

describe("a removal", () => {
  const underWay = async () => {
    const path = proxy.requests.find((request) => request.startsWith("PATCH")).split(" ")[1];
    return (await fetch(GALLERY_URL + path)).status;
  };

  test("also removes what has arrived", async () => {
    const storage = aStorage();
    proxy.delay = 5;
    aQueue({}, { storage }).add([aPhoto({ size: LARGE })]);
    await halfWay();
    queue.remove(item().id);
    assert.deepEqual(queue.items(), []);
    await until(async () => (await underWay()) === 404);
    assert.deepEqual(Object.keys(storage), []);
  });

  test("of a paused upload, too", async () => {
    proxy.delay = 5;
    aQueue().add([aPhoto({ size: LARGE })]);
    await halfWay();
    queue.pause();
    assert.equal(await underWay(), 200);
    queue.remove(item().id);
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
      queue.remove(item(1).id);
      queue.remove(item(0).id);
      queue.remove("unknown");
      if (deleteRemoved) await until(async () => !(await exists(image)));
      else assert.ok(await exists(image));
      assert.ok(await exists({ id }));
    }
  });

  test("that cannot delete its image brings the item back", async () => {
    aQueue({ deleteRemoved: true }).add([aPhoto()]);
    await all("ready");
    proxy.answers = [[/^DELETE/, canned(403, JSON.stringify({ code: "scope_missing", detail: "No." }))]];
    queue.remove(item().id);
    await until(() => states().join() === "failed");
    assert.equal(item().error.code, "scope_missing");
    queue.retry();
    await all("ready");
    queue.remove(item().id);
    await until(() => proxy.count(/^DELETE/) === 2);
  });
});

test("a queue that is closed does nothing more", async () => {
  let notified = 0;
  proxy.delay = 5;
  aQueue().subscribe(() => notified++);
  queue.add([aPhoto({ size: LARGE }), aPhoto(), aPhoto(), aPhoto()]);
  await halfWay();
  queue.close();
  const told = [proxy.requests.length, notified];
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.deepEqual([proxy.requests.length, notified], told);
  assert.throws(() => queue.add([aPhoto()]), /closed/);
  queue.resume();
  queue.close();
});
