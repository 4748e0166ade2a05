// Uploads of the element by tickets, without a page.

import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createGallery } from "gallery-client";
import { byTickets } from "../../dist/element/tickets.js";
import { aPhoto, aTicket, GALLERY_URL, until } from "./kit.js";

const anyTicket = async () => ({ ticket: await aTicket() });

it("tells of an image that has settled while another one is told", async () => {
  const { gallery } = byTickets(GALLERY_URL, anyTicket, () => 1);
  const stop = new AbortController();
  const events = gallery.events({ signal: stop.signal });
  const first = await gallery.upload(aPhoto());
  assert.equal((await events.next()).value.imageId, first.id);
  const second = await gallery.upload(aPhoto());
  await createGallery({ url: GALLERY_URL }).wait(second);
  await sleep(1500); // the ticket's own stream has told it, too
  const told = await Promise.race([events.next(), sleep(2000, "nothing")]);
  assert.equal(told.value?.imageId, second.id);
  stop.abort();
});

it("ends its events when they are no longer wanted", async () => {
  const stop = new AbortController();
  const events = byTickets(GALLERY_URL, anyTicket, () => 1).gallery.events({ signal: stop.signal });
  const next = events.next();
  stop.abort();
  assert.deepEqual(await next, { value: undefined, done: true });
});

it("lists what can be read, when another image is gone", async () => {
  const { gallery } = byTickets(GALLERY_URL, anyTicket, () => 1);
  const image = await gallery.upload(aPhoto());
  const { images } = await gallery.images.page({ ids: ["01990000-0000-7000-8000-000000000000", image.id] });
  assert.deepEqual(
    images.map(({ id }) => id),
    [image.id],
  );
});

it("counts an image as ready that its ticket can no longer read", async () => {
  let ticket;
  const get = async () => {
    ticket = await aTicket();
    return { ticket };
  };
  const { gallery } = byTickets(GALLERY_URL, get, () => 1);
  const image = await gallery.upload(aPhoto());
  const id = ticket.split(/[_.]/)[1];
  const made = await fetch(`${GALLERY_URL}/api/v1/uploads/tickets/${id}`, { method: "DELETE" });
  assert.ok(made.ok, await made.text());
  await until(async () => (await gallery.images.get(image.id)).status === "READY");
});
