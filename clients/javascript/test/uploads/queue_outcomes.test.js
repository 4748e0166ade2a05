/** What becomes of the files of a queue: events that are lost, uploads and images that fail. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createGallery } from "gallery-client";
import { aPhoto, GALLERY_URL, MIB, noPicture, until } from "./kit.js";
import { canned } from "./proxy.js";
import { all, aQueue, item, LARGE, now, states } from "./queue_kit.js";

const near = createGallery({ url: GALLERY_URL });
const LATER = canned(503, JSON.stringify({ code: "overloaded", detail: "Later." }), { "Retry-After": 0 });

describe("events", () => {
  test("that are lost with their stream are made up for", async () => {
    now.proxy.answers = Array.from({ length: 3 }, () => [/notifications/, LATER]);
    aQueue().add([aPhoto(), aPhoto()]);
    await all("ready");
  });

  test("that are refused are replaced by reading", async () => {
    const refused = canned(403, JSON.stringify({ code: "scope_missing", detail: "No." }));
    now.proxy.answers = Array.from({ length: 9 }, () => [/notifications/, refused]);
    aQueue().add([aPhoto()]);
    await all("ready");
  });

  test("come again after a broken connection", async () => {
    aQueue().add([aPhoto({ size: LARGE })]);
    await until(() => states()[0] === "processing");
    now.proxy.breakAll();
    await all("ready");
  });
});

describe("a file that fails", () => {
  test("has the error of the upload", async () => {
    aQueue().add([noPicture(1000), noPicture(9_000_000), aPhoto()]);
    await until(() => states().join() === "failed,failed,ready");
    assert.deepEqual(
      now.queue.items().map(({ error }) => error?.code),
      ["not_a_picture", "not_a_picture", undefined],
    );
    now.queue.retry(item(1).id);
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
    now.queue.retry();
    await until(() => item().image?.attempts > image.attempts && item().state === "failed");
    assert.equal(item().image.id, image.id);
  });

  test("is tried again with its key, and makes one image", async () => {
    const tags = [`${Math.random()}`];
    aQueue({ fields: { tags } }, { retryForMs: 0 }).add([aPhoto(), aPhoto({ size: LARGE })]);
    now.proxy.lost = [/^POST \S+images/, /^PATCH/];
    await all("failed");
    assert.equal(item().error.code, "unavailable");
    const before = now.proxy.sent;
    now.queue.retry();
    await all("ready");
    assert.deepEqual(
      now.queue.items().map(({ image }) => image.duplicate),
      [false, false],
    );
    assert.equal((await near.images.page({ tags })).images.length, 2);
    assert.ok(now.proxy.sent - before < LARGE - 7 * MIB, "the large one went on");
  });

  test("was deleted while it was processed", async () => {
    now.proxy.answers = Array.from({ length: 50 }, () => [/^GET \S+(notifications|images)/, LATER]);
    aQueue().add([aPhoto()]);
    await until(() => states()[0] === "processing");
    await near.images.delete(item().image.id);
    now.proxy.answers = [];
    await all("failed");
    assert.equal(item().error.code, "image_not_found");
  });
});
