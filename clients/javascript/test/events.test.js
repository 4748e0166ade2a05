// Events: of uploads and of one image, each once and in order; refusals, and the end.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createGallery } from "gallery-client";
import { checkOrder, editing, following, maya, pause, titles } from "./following.js";
import { CLOSED_URL, errorOf, newPhoto, openGallery, peer, promised, proxyTo, refuse, take } from "./support.js";

it("tells of an upload from the beginning to the end", async () => {
  const gallery = openGallery();
  const open = promised();
  const types = ["image.uploaded", "image.ready"];
  const events = take(gallery.events({ types, onOpen: open.resolve }), 2);
  await open.promise;
  const { id } = await gallery.upload(newPhoto(), { title: "Lake" });
  const found = await events;
  assert.deepEqual(
    found.map(({ type, imageId, title }) => [type, imageId, title]),
    types.map((type) => [type, id, "Lake"]),
  );
  assert.deepEqual([found[1].status, found[1].version > found[0].version], ["READY", true]);
  assert.match(found[1].timestamp, /Z$/);
});

it("tells each event once over breaks", async (t) => {
  const { id } = await maya.upload(newPhoto());
  const proxy = await proxyTo(t, CLOSED_URL);
  const { events, opened } = await following(proxy.url, id, 12);
  const wanted = await editing(id, 12, async (n) => {
    if (n % 4 !== 1) return;
    await pause(150);
    proxy.breakAll();
  });
  assert.deepEqual(titles(await events), wanted);
  checkOrder(await events);
  assert.ok(opened() >= 2, `${opened()}`);
});

it("goes on after an event, and is told when earlier ones are not known any more", async () => {
  const { id } = await maya.upload(newPhoto());
  await editing(id, 3);
  const all = await take(maya.events({ imageId: id, lastEventId: "0" }), 4);
  assert.deepEqual(titles(all), ["image.uploaded", "0", "1", "2"]);
  const rest = await take(maya.events({ imageId: id, lastEventId: all[1].id }), 2);
  assert.deepEqual(rest, all.slice(2));
  const { events } = await following(CLOSED_URL, id, 2, { events: { lastEventId: "123456789" } });
  await maya.images.edit(id, { title: "after" });
  assert.deepEqual(titles(await events), ["reset", "after"]);
});

it("throws where there is no use in trying again", async (t) => {
  const answers = [
    (response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<h1>Sign in</h1>"),
    (response) => refuse(response, 401, "credential_not_valid"),
    (response) => refuse(response, 403, "scope_missing"),
  ];
  for (const [n, code] of ["answer_not_understood", "credential_not_valid", "scope_missing"].entries()) {
    const { url, requests } = await peer(t, answers[n]);
    const error = await errorOf(
      createGallery({ url, auth: () => `t${requests.length}` })
        .events()
        .next(),
    );
    assert.equal(error.code, code);
    assert.equal(requests.length, n === 1 ? 2 : 1);
  }
  const wrong = await errorOf(
    openGallery()
      .events({ types: ["image.painted"] })
      .next(),
  );
  assert.deepEqual([wrong.code, wrong.errors[0].pointer], ["invalid_field", "/types"]);
});

it("ends at its signal, and when it is left, and closes the connection", async (t) => {
  const closed = [];
  const { url, requests } = await peer(t, (response, n) => {
    response.on("close", () => closed.push(n));
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write('id: 1\nevent: image.ready\ndata: {"imageId":"a"}\n\n');
  });
  const gallery = createGallery({ url });
  for await (const _ of gallery.events()) break;
  const controller = new AbortController();
  for await (const _ of gallery.events({ signal: controller.signal })) setTimeout(() => controller.abort(), 50);
  const events = gallery.events();
  await events.next();
  const waiting = events.next();
  await pause(50);
  await events.return();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  await pause(100);
  assert.deepEqual(closed, [0, 1, 2]);
  assert.equal((await gallery.events({ signal: AbortSignal.abort() }).next()).done, true);
  assert.equal(requests.length, 3);
  const retrying = createGallery({ url: "http://127.0.0.1:1" }).events({ signal: AbortSignal.timeout(700) });
  assert.equal((await retrying.next()).done, true, "in a pause, too");
});

it("does not read ahead of its caller", async (t) => {
  const frame = `id: 1\nevent: image.ready\ndata: {"imageId":"a","title":"${"x".repeat(1000)}"}\n\n`;
  let written = 0;
  const { url } = await peer(t, (response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const fill = () => {
      while (written < 50_000 && response.write(frame)) written++;
    };
    response.on("drain", fill);
    fill();
  });
  const events = createGallery({ url }).events();
  await events.next();
  await pause(500);
  const early = written;
  await pause(500);
  assert.ok(
    written < 50_000 && written === early,
    `${written} of 50000 events of 1 kB were sent for one that was read`,
  );
  await events.return();
});
