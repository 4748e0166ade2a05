// The requests of a client, by supertest against a running Gallery: GALLERY_URL is its URL, PHOTO the file to upload.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import request from "supertest";

const gallery = request(process.env.GALLERY_URL);

async function cacheHits() {
  const { text } = await gallery.get("/metrics").expect(200);
  const hits = text.matchAll(/^gallery_cache_lookups_total\{.*kind="list".*result="(?:hit|memory)".*\} (\S+)$/gm);
  return [...hits].reduce((sum, [, value]) => sum + Number(value), 0);
}

describe("an image", () => {
  let id;

  it("is uploaded", async () => {
    const { body } = await gallery
      .post("/api/v1/images")
      .field("title", "Lake")
      .field("description", "In the evening")
      .attach("file", process.env.PHOTO)
      .expect(201);
    assert.equal(typeof body.id, "string");
    assert.equal(body.title, "Lake");
    assert.equal(body.description, "In the evening");
    assert.equal(body.status, "PENDING");
    assert.match(body.s3Key, /^original\//);
    id = body.id;
  });

  it("has a presigned URL", async () => {
    const { body } = await gallery.get(`/api/v1/images/${id}/download`).expect(200);
    assert.match(body.url, /X-Amz-Signature/);
    assert.equal(body.expiresIn, 3600);
    const answer = await fetch(body.url);
    assert.equal(answer.status, 200);
    assert.equal((await answer.arrayBuffer()).byteLength > 0, true);
  });

  it("is listed, and listed again from the cache", async () => {
    const before = await cacheHits();
    const first = await gallery.get("/api/v1/images").expect(200);
    assert.deepEqual(first.body.map((image) => image.id), [id]);
    let tries = 0; // the event of the upload may have invalidated the cached list
    do {
      const again = await gallery.get("/api/v1/images").expect(200);
      assert.deepEqual(again.body, first.body);
    } while ((await cacheHits()) === before && ++tries < 20);
    assert.ok((await cacheHits()) > before);
  });
});

describe("the process", () => {
  it("answers ok at /", async () => {
    const { body, headers } = await gallery.get("/").expect(200);
    assert.equal(body.status, "ok");
    assert.match(headers["content-type"], /^application\/json/);
  });

  it("reports its memory at /health", async () => {
    const { body } = await gallery.get("/health").expect(200);
    assert.equal(body.status, "ok");
    for (const name of ["rss", "heapTotal", "heapUsed"]) assert.equal(typeof body.memory[name], "number");
  });

  it("has the usual names in /metrics", async () => {
    const { text } = await gallery.get("/metrics").expect(200);
    for (const name of ["process_cpu_user_seconds_total", "process_cpu_system_seconds_total", "process_cpu_seconds_total"])
      assert.match(text, new RegExp(`^${name} \\d`, "m"));
  });
});
