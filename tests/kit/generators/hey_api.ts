// Uses the client that @hey-api/openapi-ts has generated into ./hey: prints what it has done as JSON.
import { readFile } from "node:fs/promises";
import { client } from "./hey/client.gen.js";
import { deleteImage, editImage, getImage, getOriginal, listImages, streamEvents, uploadImage } from "./hey/sdk.gen.js";
import type { Image, Problem, UploadedImage } from "./hey/types.gen.js";

client.setConfig({ baseUrl: process.env["GALLERY_URL"] ?? "", auth: process.env["TOKEN"] ?? "" });

const bytes = await readFile(process.env["PHOTO"] ?? "");
const file = new File([new Uint8Array(bytes)], "lake.jpg", { type: "image/jpeg" });

const events = await streamEvents({ query: { types: ["image.uploaded"] } });
const reading = events.stream.next();
const uploaded: UploadedImage = (
  await uploadImage({ body: { file, title: "Lake", tags: ["kit", "lake"] }, throwOnError: true })
).data;
const event = (await reading).value;

const { data: listed } = await listImages({ query: { tag: ["kit"], limit: 10 }, throwOnError: true });
const ids: string[] = listed.map((one: Image) => one.id);
const { data: got } = await getImage({ path: { imageId: uploaded.id }, throwOnError: true });
const { data: edited } = await editImage({
  path: { imageId: got.id },
  body: { title: "Lake at dawn", focus: { x: 0.5, y: 0.4 } },
  throwOnError: true,
});
// @ts-expect-error  an image has no such field
edited.titel;
const { data: original } = await getOriginal({ path: { imageId: got.id }, parseAs: "blob", throwOnError: true });
const { data: deleted } = await deleteImage({ path: { imageId: got.id }, throwOnError: true });

const missing = await getImage({ path: { imageId: deleted.id } });
const problem: Problem | undefined = missing.error;
const refused = await editImage({ path: { imageId: deleted.id }, body: { title: "" } });

console.log(
  JSON.stringify({
    uploaded: uploaded.id,
    duplicate: uploaded.duplicate,
    listed: ids,
    tags: got.tags,
    title: edited.title,
    size: original.size,
    event: event && "imageId" in event ? event.imageId : null,
    problem: problem && { code: problem.code, status: problem.status },
    field: refused.error?.errors?.[0]?.pointer,
  }),
);
process.exit(0); // the stream is still open
