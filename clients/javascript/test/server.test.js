// The part for servers: tickets, signed links.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createGallery } from "gallery-client";
import { GalleryError, sign, uploadTicket } from "gallery-client/server";
import { CLOSED_URL, errorOf, makeToken, newPhoto, take } from "./support.js";

const options = { url: CLOSED_URL, auth: () => makeToken() };

it("makes tickets by which a page uploads and follows its own images", async () => {
  const rules = { uses: 1, expiresIn: 60, tags: ["contest"], types: ["image/jpeg"], visibility: "private" };
  const { ticket, expiresIn, id } = await uploadTicket(options, rules);
  assert.match(ticket, /^gt_/);
  assert.match(id, /./);
  assert.equal(expiresIn, 60);
  const mine = await createGallery(options).upload(newPhoto());
  const page = createGallery({ url: CLOSED_URL, auth: ticket });
  const image = await page.upload(newPhoto());
  assert.deepEqual(image.tags, ["contest"]);
  assert.deepEqual(
    (await page.images.page()).images.map(({ id }) => id),
    [image.id],
  );
  assert.equal((await errorOf(page.images.get(mine.id))).status, 404);
  const [event] = await take(page.events({ lastEventId: "0" }), 1);
  assert.deepEqual([event.type, event.imageId], ["image.uploaded", image.id]);
  const error = await errorOf(page.upload(newPhoto()));
  assert.equal(error.code, "upload_ticket_used_up");
});

it("tells why there is no ticket", async () => {
  const error = await errorOf(uploadTicket({ url: CLOSED_URL, auth: makeToken(60, "images:read") }));
  assert.ok(error instanceof GalleryError);
  assert.equal(error.status, 403);
  const wrong = await errorOf(uploadTicket(options, { uses: 0 }));
  assert.deepEqual([wrong.code, wrong.errors[0].pointer], ["invalid_field", "/uses"]);
  const left = await errorOf(uploadTicket(options, {}, { signal: AbortSignal.abort() }));
  assert.equal(left.name, "AbortError");
});

it("signs links that Gallery accepts", async () => {
  const image = await createGallery(options).upload(newPhoto());
  const key = process.env.LINK_KEY;
  const url = await sign({ url: CLOSED_URL, key, image, query: { w: 32, format: "jpeg", gray: true } });
  const answer = await (await fetch(url)).json();
  assert.equal(answer.code, "image_not_ready", "the link is good; the image has no worker");
  assert.equal((await fetch(url.replace("w=32", "w=33"))).status, 403);
  const expired = await sign({ url: CLOSED_URL, key, image: image.id, query: "w=32", expiresAt: 1_700_000_000 });
  assert.equal((await fetch(expired)).status, 403);
});
