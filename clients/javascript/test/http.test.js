// Requests: errors, retries, tokens, signals; against Gallery, and peers that answer in its place.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createGallery, GalleryError, GalleryUnavailable } from "gallery-client";
import { CLOSED_URL, errorOf, makeToken, openGallery, peer, proxyTo, refuse, send } from "./support.js";

const UNKNOWN = "01990000-0000-7000-8000-000000000000";

it("tells a refusal by its code", async () => {
  const error = await errorOf(openGallery().images.get(UNKNOWN));
  assert.ok(error instanceof GalleryError && error instanceof Error);
  assert.deepEqual([error.name, error.code, error.status], ["GalleryError", "image_not_found", 404]);
  assert.match(error.detail, /^[A-Z].*\.$/);
  assert.equal(error.message, `${error.detail} (image_not_found)`);
  assert.match(error.requestId, /^\S+$/);
  assert.deepEqual([error.errors, error.retryAfter, error.temporary], [[], undefined, false]);
});

it("names the fields that are not valid", async () => {
  const error = await errorOf(openGallery().images.page({ limit: 1000 }));
  assert.deepEqual([error.status, error.code], [422, "invalid_field"]);
  assert.equal(error.errors[0].pointer, "/limit");
  assert.match(error.errors[0].detail, /200/);
});

it("tells a page of a proxy as one", async (t) => {
  const { url, requests } = await peer(t, (response, n) => {
    response.writeHead(n ? 200 : 403, { "Content-Type": "text/html", "X-Request-Id": "p1" }).end("<h1>Sign in</h1>");
  });
  const gallery = createGallery({ url });
  const refused = await errorOf(gallery.images.get("a"));
  assert.deepEqual([refused.code, refused.status, refused.requestId], ["http_403", 403, "p1"]);
  assert.match(refused.detail, /403 with text\/html/);
  const signIn = await errorOf(gallery.images.get("a"));
  assert.deepEqual([signIn.code, signIn.status], ["answer_not_understood", 200]);
  assert.equal(requests.length, 2, "neither is tried again");
});

it("waits as long as Retry-After asks, in seconds or until a date", async (t) => {
  const { url, requests } = await peer(t, (response, n) => {
    if (n === 0) return refuse(response, 429, "too_many_requests", { "Retry-After": "1" });
    const date = new Date(Date.now() + 2000).toUTCString(); // in whole seconds
    if (n === 1) return refuse(response, 503, "unavailable", { "Retry-After": date });
    return send(response, 200, { id: "a" });
  });
  assert.deepEqual(await createGallery({ url }).images.get("a"), { id: "a" });
  const [first, second, third] = requests.map(({ at }) => at);
  assert.ok(second - first >= 1000, `${second - first}`);
  assert.ok(third - second >= 950, `${third - second}`);
});

it("does not wait longer than it may", async (t) => {
  const { url, requests } = await peer(t, (response) => refuse(response, 503, "unavailable", { "Retry-After": "60" }));
  const error = await errorOf(createGallery({ url }).images.get("a"));
  assert.deepEqual([error.code, error.retryAfter, error.temporary, requests.length], ["unavailable", 60, true, 1]);
});

it("goes on where connections break", async (t) => {
  const { url, requests } = await peer(t, (response, n) => {
    if (n < 2) return response.destroy();
    if (n > 2) return send(response, 200, [{ id: "a" }]);
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": "100" });
    return response.write("[{", () => response.destroy()); // in the middle of the answer
  });
  assert.deepEqual(await createGallery({ url }).images.page(), { images: [{ id: "a" }], cursor: null });
  assert.equal(requests.length, 4);
});

it("says why a server is not reached, after the time for retries", async (t) => {
  const { url, requests } = await peer(t, (response) => response.destroy());
  const began = Date.now();
  const error = await errorOf(createGallery({ url, retryForMs: 1500 }).images.get("a"));
  assert.ok(error instanceof GalleryUnavailable && error.temporary);
  assert.deepEqual([error.code, error.status], ["unavailable", undefined]);
  assert.match(error.detail, /^Gallery cannot be reached: /);
  assert.ok(Date.now() - began < 4000);
  assert.ok(requests.length >= 2);
  const refused = await errorOf(createGallery({ url: "http://127.0.0.1:1", retryForMs: 0 }).images.get("a"));
  assert.match(refused.detail, /ECONNREFUSED|bad port/);
});

it("does not repeat what might be done twice", async (t) => {
  const { url, requests } = await peer(t, (response, n) => (n ? refuse(response, 502, "x") : response.destroy()));
  const gallery = createGallery({ url, retryForMs: 5000 });
  assert.equal((await errorOf(gallery.images.edit("a", { title: "b" }))).code, "unavailable");
  assert.equal((await errorOf(gallery.images.edit("a", { title: "b" }))).status, 502);
  assert.equal(requests.length, 2);
});

it("repeats even that, if it was certainly not done", async (t) => {
  const { url } = await peer(t, (response, n) => {
    if (n === 0) return refuse(response, 429, "too_many_requests", { "Retry-After": "0" });
    return send(response, 200, { id: "a", title: "b" });
  });
  assert.equal((await createGallery({ url }).images.edit("a", { title: "b" })).title, "b");
});

it("brings a new token when the old one is refused, once", async () => {
  const tokens = [makeToken(-60), makeToken()];
  let asked = 0;
  const gallery = createGallery({ url: CLOSED_URL, auth: async () => tokens[Math.min(asked++, 1)] });
  assert.deepEqual((await gallery.images.page({ limit: 1 })).images, []);
  assert.equal(asked, 2);
  await gallery.images.page({ limit: 1 });
  assert.equal(asked, 3, "the function is called for each request");
  const expired = createGallery({ url: CLOSED_URL, auth: () => makeToken(-60 - asked++) });
  assert.deepEqual([(await errorOf(expired.images.page())).code, asked], ["token_expired", 5]);
  const constant = await errorOf(createGallery({ url: CLOSED_URL, auth: makeToken(-60) }).images.page());
  assert.equal(constant.status, 401);
  assert.equal((await errorOf(createGallery({ url: CLOSED_URL }).images.page())).status, 401, "without a token");
});

it("sends tickets and tokens by their own names", async (t) => {
  const { url, requests } = await peer(t, (response) => send(response, 200, {}));
  for (const auth of ["gt_1_2", "a.b.c", "", undefined]) await createGallery({ url, auth }).images.get("a");
  const sent = requests.map(({ headers }) => headers.authorization);
  assert.deepEqual(sent, ["Upload gt_1_2", "Bearer a.b.c", undefined, undefined]);
});

it("tries again when the function for tokens fails, and says so", async () => {
  let asked = 0;
  const auth = () => {
    if (asked++ === 0) throw new TypeError("fetch failed");
    return makeToken();
  };
  await createGallery({ url: CLOSED_URL, auth }).images.page();
  const broken = createGallery({
    url: CLOSED_URL,
    retryForMs: 0,
    auth: () => {
      throw new ReferenceError("x is not defined");
    },
  });
  const error = await errorOf(broken.images.page());
  assert.match(error.detail, /"auth" has failed: x is not defined/);
  assert.ok(error.cause instanceof ReferenceError);
});

it("ends at its signal: before, while it sends, while it reads, and in a pause", async (t) => {
  const { url, requests } = await peer(t, (response, n) => {
    if (n === 0) return; // never answers
    if (n === 1) {
      response.writeHead(200, { "Content-Type": "application/json" });
      response.write("[");
    } else refuse(response, 503, "unavailable", { "Retry-After": "20" });
  });
  const gallery = createGallery({ url });
  const reason = new Error("the visitor has left");
  const early = AbortSignal.abort(reason);
  assert.equal(await errorOf(gallery.images.get("a", { signal: early })), reason);
  assert.equal(requests.length, 0);
  for (const seconds of [0.2, 0.2, 0.4]) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), seconds * 1000);
    const began = Date.now();
    assert.equal(await errorOf(gallery.images.get("a", { signal: controller.signal })), reason);
    assert.ok(Date.now() - began < 3000);
  }
  assert.equal(requests.length, 3);
  const timeout = await errorOf(gallery.images.get("a", { signal: AbortSignal.timeout(100) }));
  assert.equal(timeout.name, "TimeoutError");
});

it("waits for a function that gets the token no longer than for an answer", async (t) => {
  const { url, requests } = await peer(t, (response) => send(response, 200, {}));
  const gallery = createGallery({ url, auth: () => new Promise(() => {}), retryForMs: 0 });
  const reason = new Error("the visitor has left");
  const ended = async (call) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 200);
    assert.equal(await errorOf(call(controller.signal)), reason);
  };
  await ended((signal) => gallery.images.get("a", { signal }));
  await ended((signal) => gallery.wait("a", { signal }));
  await ended((signal) => gallery.upload(new Blob(["x"]), { signal }));
  assert.equal((await errorOf(gallery.wait("a", { timeoutMs: 200 }))).code, "not_ready_in_time");
  const events = gallery.events();
  setTimeout(() => events.return(), 200);
  for await (const _ of events) assert.fail();
  assert.equal(requests.length, 0);
});

it("takes any address of a server, and nothing else", async (t) => {
  const { url, requests } = await peer(t, (response) => send(response, 200, {}));
  await createGallery({ url: `${url}/behind/` }).images.get("a/b");
  assert.equal(requests[0].url, "/behind/api/v1/images/a%2Fb");
  assert.equal(createGallery({ url: `${url}//` }).url, url);
  for (const wrong of ["img.example.org", "ftp://x", "", "/"])
    assert.throws(() => createGallery({ url: wrong }), TypeError);
});

it("uses the fetch that it is given", async () => {
  const asked = [];
  const gallery = openGallery({ fetch: (url, init) => asked.push(String(url)) && fetch(url, init) });
  await gallery.images.page({ limit: 1 });
  assert.match(asked[0], /\/api\/v1\/images\?limit=1$/);
});

it("survives a proxy that is cut again and again", async (t) => {
  const proxy = await proxyTo(t, (await peer(t, (response) => setTimeout(() => send(response, 200, {}), 150))).url);
  const cutting = setInterval(proxy.breakAll, 100);
  setTimeout(() => clearInterval(cutting), 1000);
  await createGallery({ url: proxy.url }).images.get("a");
  assert.ok(proxy.connections > 1);
});
