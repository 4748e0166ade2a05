// Events over silence, sleep, expired tokens and a server that is killed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { it } from "node:test";
import { createGallery, GalleryUnavailable } from "gallery-client";
import { followEvents } from "../dist/events.js";
import { Http } from "../dist/http.js";
import { checkOrder, editing, following, maya, pause, titles } from "./following.js";
import { CLOSED_URL, errorOf, makeToken, newPhoto, peer, promised, proxyTo, refuse, take } from "./support.js";

it("loses nothing when the server is killed and starts again", async (t) => {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let server = await startServer(t, port);
  const { id } = await maya.upload(newPhoto());
  const { events } = await following(url, id, 20);
  const ended = once(server, "exit");
  const wanted = await editing(id, 20, async (n) => {
    if (n === 5) server.kill("SIGKILL");
    if (n === 9) {
      await ended;
      server = await startServer(t, port);
    }
    if (n === 14) await pause(300);
  });
  assert.deepEqual(titles(await events), wanted);
  checkOrder(await events);
});

it("goes on with a new token when the old one has expired", async () => {
  const { id } = await maya.upload(newPhoto());
  let asked = 0;
  const auth = () => {
    asked += 1;
    return makeToken(2);
  };
  const { events } = await following(CLOSED_URL, id, 10, { client: { auth } });
  const wanted = await editing(id, 10, () => pause(500));
  assert.deepEqual(titles(await events), wanted);
  assert.ok(asked >= 2, `${asked}`);
});

it("connects again when a connection is silent", async (t) => {
  const { id } = await maya.upload(newPhoto());
  const proxy = await proxyTo(t, CLOSED_URL); // a heartbeat comes each half second
  const http = new Http({ url: proxy.url, auth: () => makeToken() });
  const open = promised();
  const options = { imageId: id, onOpen: open.resolve };
  const events = take(followEvents(http, options, undefined, { silence: 1200, look: 50 }), 6);
  await open.promise;
  await pause(1500);
  assert.equal(proxy.connections, 1, "with heartbeats it stays");
  const wanted = await editing(id, 6, async (n) => {
    if (n === 2) proxy.deaf = true;
    if (n === 4) setTimeout(() => (proxy.deaf = false), 1500);
  });
  assert.deepEqual(titles(await events), wanted);
  assert.ok(proxy.connections > 1);
});

it("connects again when the machine has slept, but not while the caller is busy", async (t) => {
  const { id } = await maya.upload(newPhoto());
  const proxy = await proxyTo(t, CLOSED_URL);
  const http = new Http({ url: proxy.url, auth: () => makeToken() });
  const now = Date.now.bind(Date);
  let slept = 0;
  t.mock.method(Date, "now", () => now() + slept);
  const events = followEvents(http, { imageId: id, lastEventId: "0" }, undefined, { silence: 35_000, look: 50 });
  t.after(() => events.return());
  await events.next();
  slept += 3_600_000; // while the caller does something else
  await pause(200);
  assert.equal(proxy.connections, 1);
  const next = events.next();
  await pause(200);
  proxy.freeze(); // a heartbeat would tell that the connection lives
  slept += 3_600_000;
  for (let n = 0; n < 300 && proxy.connections < 2; n++) await pause(20); // Node may have ended the old one itself
  assert.ok(proxy.connections > 1); // a third one, where the second was slow
  await maya.images.edit(id, { title: "awake" });
  assert.equal((await next).value.title, "awake");
});

it("waits as long as the server asks, and goes on after the last event that was whole", async (t) => {
  const { url, requests } = await peer(t, (response, n) => {
    response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
    if (n === 0) response.end('retry: 400\nid: 7\nevent: image.ready\ndata: {"imageId":"a"}\n\nid: 8\ndata: {"half":');
    else response.write('id: 8\nevent: image.ready\ndata: {"imageId":"b"}\n\n');
  });
  const events = createGallery({ url }).events({ types: ["image.ready", "image.failed"] });
  const found = await take(events, 2);
  assert.deepEqual(
    found.map(({ id, imageId }) => [id, imageId]),
    [
      ["7", "a"],
      ["8", "b"],
    ],
  );
  assert.ok(requests[1].at - requests[0].at >= 390);
  const sent = requests.map(({ headers, url: path }) => [path, headers["last-event-id"], headers.accept]);
  const path = "/api/v1/notifications/stream?types=image.ready%2Cimage.failed";
  assert.deepEqual(sent, [
    [path, undefined, "text/event-stream"],
    [path, "7", "text/event-stream"],
  ]);
});

it("throws when there was no connection at all, but mends later breaks for ever", async (t) => {
  const never = createGallery({ url: "http://127.0.0.1:1", retryForMs: 300 });
  assert.ok((await errorOf(never.events().next())) instanceof GalleryUnavailable);
  const { url, requests } = await peer(t, (response, n) => {
    if (n > 0 && n < 4) return n === 1 ? refuse(response, 503, "unavailable") : response.destroy();
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(n ? 'id: 2\nevent: image.ready\ndata: {"imageId":"a"}\n\n' : "retry: 10\nid: 1\n\n");
    return setTimeout(() => response.destroy(), n ? 5000 : 100);
  });
  const [event] = await take(createGallery({ url, retryForMs: 100 }).events(), 1);
  assert.deepEqual([event.id, requests.length], ["2", 5]);
  const mute = await peer(t, (response) =>
    response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders(),
  );
  const http = new Http({ url: mute.url, retryForMs: 100 });
  const silent = await errorOf(followEvents(http, {}, undefined, { silence: 200, look: 20 }).next());
  assert.match(silent.detail, /silent/);
});

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** `gallery serve` over the same database as the Gallery at CLOSED_URL, ready. */
async function startServer(t, port) {
  const environment = { ...JSON.parse(process.env.GALLERY_ENVIRONMENT), PORT: String(port) };
  const server = spawn(process.env.GALLERY_PROGRAM, ["serve"], {
    env: environment,
    stdio: ["ignore", "ignore", "inherit"],
  });
  t.after(() => server.kill("SIGKILL"));
  for (let tries = 0; tries < 300; tries++) {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    if (answer?.ok) return server;
    await pause(50);
  }
  return assert.fail("gallery serve is not ready");
}
