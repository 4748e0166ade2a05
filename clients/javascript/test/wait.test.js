// Waits for images.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createGallery, GalleryTimeout } from "gallery-client";
import { errorOf, newPhoto, openGallery, peer, refuse, send } from "./support.js";

const at = (id, status, error = null) => ({ id, status, error });

it("brings images once they are READY, by few requests", async () => {
  const requests = [];
  const gallery = openGallery({ fetch: (url, init) => requests.push(`${init.method} ${url}`) && fetch(url, init) });
  const uploaded = await Promise.all(Array.from({ length: 12 }, () => gallery.upload(newPhoto())));
  requests.length = 0;
  const began = Date.now();
  const ready = await Promise.all(uploaded.map((image, n) => gallery.wait(n % 2 ? image : image.id)));
  assert.deepEqual(
    ready.map(({ id, status }) => [id, status]),
    uploaded.map(({ id }) => [id, "READY"]),
  );
  assert.ok(ready.every(({ width, renditions }) => width > 0 && renditions.length > 0));
  const looks = requests.length - uploaded.length;
  console.log(`${looks} looks in ${Date.now() - began} ms`);
  assert.ok(looks <= 8 + (Date.now() - began) / 500, requests.join("\n"));
});

it("throws the image's own error when it has FAILED", async (t) => {
  const failed = at("a", "FAILED", { code: "picture_damaged", message: "The picture is damaged." });
  const { url } = await peer(t, (response, n) => send(response, 200, n < 2 ? at("a", "PROCESSING") : failed));
  const error = await errorOf(createGallery({ url }).wait("a"));
  assert.deepEqual([error.code, error.detail, error.status], ["picture_damaged", "The picture is damaged.", undefined]);
});

it("ends after its time, or at its signal", async (t) => {
  const { url, requests } = await peer(t, (response) => send(response, 200, at("a", "PENDING")));
  const gallery = createGallery({ url });
  const error = await errorOf(gallery.wait("a", { timeoutMs: 400 }));
  assert.ok(error instanceof GalleryTimeout);
  assert.equal(error.code, "not_ready_in_time");
  assert.match(error.detail, /0\.4 seconds/);
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("left")), 300);
  const both = [gallery.wait("a", { signal: controller.signal }), gallery.wait("a", { timeoutMs: 900 })];
  const [left, late] = await Promise.all(both.map(errorOf));
  assert.deepEqual([left.message, late.code], ["left", "not_ready_in_time"]);
  await new Promise((resolve) => setTimeout(resolve, 1200)); // of the last look
  const looks = requests.length;
  await new Promise((resolve) => setTimeout(resolve, 1200));
  assert.equal(requests.length, looks, "it has stopped looking");
  assert.equal((await errorOf(gallery.wait("a", { signal: AbortSignal.abort(new Error("early")) }))).message, "early");
});

it("looks for several together, also for one that is deleted meanwhile", async (t) => {
  const { url, requests } = await peer(t, (response, n, { url: asked }) => {
    const many = /ids=(\S+)/.exec(decodeURIComponent(asked));
    if (!many) return send(response, 200, at(asked.split("/").at(-1), "PENDING"));
    const left = many[1].split(",").filter((id) => id !== "gone");
    return send(
      response,
      200,
      left.map((id) => at(id, n > 6 ? "READY" : "PROCESSING")),
    );
  });
  const gallery = createGallery({ url });
  const waits = ["a", "b", "gone", "a"].map((id) => gallery.wait(id).catch((error) => error.code));
  const found = await Promise.all(waits);
  assert.deepEqual(
    found.map((one) => one.id ?? one),
    ["a", "b", "image_not_found", "a"],
  );
  assert.match(decodeURIComponent(requests[4].url), /\/images\?ids=a,b,gone$/);
});

it("tells all when looking fails", async (t) => {
  const { url } = await peer(t, (response, n, { url: asked }) =>
    n < 2 ? send(response, 200, at(asked.split("/").at(-1), "PENDING")) : refuse(response, 403, "scope_missing"),
  );
  const gallery = createGallery({ url });
  const errors = await Promise.all(["a", "b"].map((id) => errorOf(gallery.wait(id))));
  assert.deepEqual(
    errors.map(({ code }) => code),
    ["scope_missing", "scope_missing"],
  );
  assert.equal((await errorOf(openGallery().wait("01990000-0000-7000-8000-000000000000"))).code, "image_not_found");
});

it("looks at once when an event of the same client tells of the image", async (t) => {
  let ready = false;
  let stream;
  const { url } = await peer(t, (response, _n, { url: asked }) => {
    if (!asked.includes("stream")) return send(response, 200, at("a", ready ? "READY" : "PENDING"));
    stream = response.writeHead(200, { "Content-Type": "text/event-stream" });
    return stream.write("id: 1\n\n");
  });
  const gallery = createGallery({ url });
  const events = gallery.events();
  const next = events.next();
  const waiting = gallery.wait("a");
  await new Promise((resolve) => setTimeout(resolve, 1500)); // by now it looks each second
  ready = true;
  const began = Date.now();
  stream.write('id: 2\nevent: image.ready\ndata: {"imageId":"a"}\n\n');
  await next;
  assert.equal((await waiting).status, "READY");
  const ms = Date.now() - began;
  await events.return();
  assert.ok(ms < 150, `${ms} ms`);
});
