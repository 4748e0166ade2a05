// Uses openapi-fetch with the types that openapi-typescript has generated into ./schema.ts: prints what it has done.
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Image = components["schemas"]["Image"];
type Problem = components["schemas"]["Problem"];

const client = createClient<paths>({
  baseUrl: process.env["GALLERY_URL"] ?? "",
  headers: { Authorization: `Bearer ${process.env["TOKEN"]}` },
});
const bytes = await readFile(process.env["PHOTO"] ?? "");
const file = new File([new Uint8Array(bytes)], "lake.jpg", { type: "image/jpeg" });

const { data: uploaded } = await client.POST("/api/v1/images", {
  body: { file, title: "Lake", tags: ["kit", "lake"] },
  bodySerializer(body) {
    const form = new FormData();
    for (const [name, value] of Object.entries(body)) {
      for (const one of Array.isArray(value) ? value : [value]) form.append(name, one);
    }
    return form;
  },
});
if (!uploaded) throw new Error("no image");

const { data: listed } = await client.GET("/api/v1/images", { params: { query: { tag: ["kit"], limit: 10 } } });
const ids = listed?.map((one: Image) => one.id);
const path = { imageId: uploaded.id };
const { data: got } = await client.GET("/api/v1/images/{imageId}", { params: { path } });
const { data: edited } = await client.PATCH("/api/v1/images/{imageId}", {
  params: { path },
  body: { title: "Lake at dawn", focus: { x: 0.5, y: 0.4 } },
});
// @ts-expect-error  an image has no such field
edited?.titel;
const original = await client.GET("/api/v1/images/{imageId}/original", { params: { path }, parseAs: "blob" });
await client.DELETE("/api/v1/images/{imageId}", { params: { path } });

const missing = await client.GET("/api/v1/images/{imageId}", { params: { path } });
const problem: Problem | undefined = missing.error;
const refused = await client.PATCH("/api/v1/images/{imageId}", { params: { path }, body: { title: "" } });

console.log(
  JSON.stringify({
    uploaded: uploaded.id,
    duplicate: uploaded.duplicate,
    listed: ids,
    tags: got?.tags,
    title: edited?.title,
    size: original.data?.size,
    problem: problem && { code: problem.code, status: problem.status },
    field: refused.error?.errors?.[0]?.pointer,
  }),
);
