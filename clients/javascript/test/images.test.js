// Images of a running Gallery: pages, changes, checks, URLs.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createGallery } from "gallery-client";
import { errorOf, makeToken, newPhoto, openGallery, peer, proxyTo, refuse, send } from "./support.js";

const TAG = `pages-${makeToken()
  .slice(-8)
  .toLowerCase()
  .replaceAll(/[^a-z]/g, "x")}`;

async function upload(gallery, fields) {
  return gallery.upload(newPhoto(), fields);
}

async function collect(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

it("lists three pages, in order, and by ids", async () => {
  const gallery = openGallery();
  const images = [];
  for (let n = 0; n < 5; n++) images.push(await upload(gallery, { title: `Page ${n}`, tags: [TAG, "a b,c"] }));
  const ids = images.map(({ id }) => id);
  const requests = [];
  const counting = openGallery({ fetch: (url, init) => requests.push(url) && fetch(url, init) });
  const filter = { tags: [TAG, "a b,c"], sort: "createdAt", limit: 2, search: "page" };
  assert.deepEqual(
    (await collect(counting.images.list(filter))).map(({ id }) => id),
    ids,
  );
  assert.equal(requests.length, 3);
  const page = await gallery.images.page(filter);
  assert.deepEqual(
    page.images.map(({ id }) => id),
    ids.slice(0, 2),
  );
  const last = await gallery.images.page({ ...filter, limit: 3, cursor: page.cursor });
  assert.deepEqual([last.images.map(({ id }) => id), last.cursor], [ids.slice(2), null]);
  const found = await collect(gallery.images.list({ ids: [ids[3], ids[1]] }));
  assert.deepEqual(found.map(({ id }) => id).sort(), [ids[1], ids[3]].sort());
  assert.deepEqual(await collect(gallery.images.list({ tags: [TAG], status: ["FAILED"] })), []);
  let seen = 0;
  for await (const _ of counting.images.list(filter)) if (++seen === 2) break;
  assert.equal(requests.length, 4, "no page is read before it is needed");
});

it("ends a list at its signal", async () => {
  const controller = new AbortController();
  const images = openGallery().images.list({ tags: [TAG], limit: 1, signal: controller.signal });
  await images.next();
  controller.abort();
  assert.equal((await errorOf(images.next())).name, "AbortError");
});

it("reads, changes and deletes an image", async () => {
  const gallery = openGallery();
  const { id } = await gallery.wait(await upload(gallery, { title: "Lake" }));
  const image = await gallery.images.get(id);
  assert.equal(image.title, "Lake");
  const focus = { x: 0.25, y: 0.75 };
  const edited = await gallery.images.edit(
    id,
    { title: "Zürich", tags: ["b", "a"], focus },
    { ifVersion: image.version },
  );
  assert.deepEqual([edited.title, edited.focus, edited.version], ["Zürich", focus, image.version + 1]);
  const conflict = await errorOf(gallery.images.edit(id, { title: "Late" }, { ifVersion: image.version }));
  assert.deepEqual([conflict.status, conflict.code], [412, "version_mismatch"]);
  assert.equal((await gallery.images.edit(id, { focus: null, alt: "Water" })).focus, null);
  assert.equal((await gallery.images.delete(id)).alt, "Water");
  assert.equal((await errorOf(gallery.images.delete(id))).code, "image_not_found");
});

it("knows its own change again when the answer was lost", async (t) => {
  const gallery = openGallery();
  const { id, version } = await gallery.wait(await upload(gallery));
  const proxy = await proxyTo(t, gallery.url);
  const far = createGallery({ url: proxy.url });
  proxy.deaf = true; // what is sent arrives, its answer does not
  setTimeout(() => {
    proxy.deaf = false;
    proxy.breakAll();
  }, 500);
  const edited = await far.images.edit(id, { title: "Once", tags: ["x"] }, { ifVersion: version });
  assert.deepEqual([edited.title, edited.version], ["Once", version + 1]);
  assert.ok(proxy.connections > 1);
  proxy.deaf = true;
  setTimeout(() => {
    proxy.deaf = false;
    proxy.breakAll();
  }, 500);
  const theirs = far.images.edit(id, { title: "Mine" }, { ifVersion: version }); // of another client, before the break
  assert.equal((await errorOf(theirs)).code, "version_mismatch");
});

it("tells a conflict that comes after a break as one", async (t) => {
  const { url } = await peer(t, (response, n, { method }) => {
    if (n === 0) return response.destroy();
    return method === "PATCH" ? refuse(response, 412, "version_mismatch") : send(response, 200, { title: "Theirs" });
  });
  const call = createGallery({ url }).images.edit("a", { title: "Mine" }, { ifVersion: 1 });
  assert.equal((await errorOf(call)).code, "version_mismatch");
});

it("tells which files are there", async () => {
  const gallery = openGallery();
  const { id, sha256 } = await upload(gallery);
  const asked = Array.from({ length: 5001 }, (_, n) => n.toString(16).padStart(64, "0"));
  const found = await gallery.images.check([...asked, sha256, sha256]);
  assert.deepEqual([...found], [[sha256, id]]);
  assert.equal((await gallery.images.check([])).size, 0);
});

it("makes URLs that answer with pictures", async () => {
  const gallery = openGallery();
  const image = await gallery.wait(await upload(gallery));
  const { images } = await gallery.images.page({ ids: [image.id], signed: true });
  const urls = [
    gallery.pictureUrl(image, { w: 64, h: 64, fit: "cover", format: "webp", gray: true }),
    gallery.pictureUrl(image.id, { w: 32, gray: false }),
    gallery.absolute(image.original),
    gallery.srcset(image).split(" ")[0],
    gallery.srcset(images[0], "jpeg").split(", ").at(-1).split(" ")[0],
    gallery.srcset(await gallery.images.get(image.id, { signed: true }), "webp").split(" ")[0],
  ];
  for (const url of urls) {
    assert.ok(url.startsWith(`${gallery.url}/api/v1/images/${image.id}/`), url);
    const answer = await fetch(url);
    assert.match(answer.headers.get("Content-Type"), /^image\//, url);
    await answer.arrayBuffer();
  }
  assert.match(urls[4], /sig=/);
  assert.match(gallery.srcset(image), /^http\S+ \d+w(, http\S+ \d+w)*$/);
  assert.equal(gallery.srcset(image, "avif"), "");
  assert.equal(gallery.absolute("https://cdn.example.org/a.jpg"), "https://cdn.example.org/a.jpg");
  assert.throws(() => gallery.pictureUrl(image, { "w&h": 1 }), TypeError);
  assert.throws(() => gallery.pictureUrl(image, { focus: "a b" }), TypeError);
});
