// What an app does with the client, in any runtime. The bundle is run as it is: nothing of Node is there everywhere.
import { createGallery, GalleryError } from "../../../clients/javascript/dist/index.js";
import { sign } from "../../../clients/javascript/dist/server/index.js";

/** Returns what it has found. `photo` is a new JPEG; `large` is one with more bytes than go in one request. */
export async function scenario(url, photo, large) {
  const gallery = createGallery({ url, auth: async () => undefined });
  const opened = Promise.withResolvers?.() ?? deferred();
  const controller = new AbortController();
  const events = [];
  const following = (async () => {
    for await (const event of gallery.events({ signal: controller.signal, onOpen: opened.resolve })) events.push(event);
  })();
  await opened.promise;
  const progress = [];
  const file = new Blob([photo], { type: "image/jpeg" });
  const uploaded = await gallery.upload(file, { title: "Lake", onProgress: (sent) => progress.push(sent) });
  const image = await gallery.wait(uploaded, { timeoutMs: 30_000 });
  const told = (type) => events.some((event) => event.type === type && event.imageId === image.id);
  for (let tries = 0; tries < 200 && !told("image.ready"); tries += 1) await new Promise((done) => setTimeout(done, 50));
  controller.abort();
  await following; // it ends with its signal
  const big = await gallery.upload(new Blob([large]), { title: "Large lake", name: "large.jpg" });
  const error = await gallery.images.edit(image.id, { title: "x" }, { ifVersion: 0 }).catch((failure) => failure);
  const listed = [];
  for await (const { title } of gallery.images.list({ ids: [image.id, big.id], limit: 1 })) listed.push(title);
  const key = `shop:${"A".repeat(43)}`;
  const signed = await sign({ url, key, image, query: { w: 800 }, expiresAt: 4_102_444_800 });
  const late = await gallery.wait(image, { signal: AbortSignal.abort() }).catch(({ name }) => name);
  return {
    status: image.status,
    types: ["image.uploaded", "image.ready"].filter(told),
    progress: progress.at(-1),
    size: big.size,
    listed: listed.sort(),
    error: [error instanceof GalleryError, error.code, error.status],
    signed: signed.replace(image.id, "ID"),
    late,
  };
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve) => {
    made.resolve = resolve;
  });
  return made;
}
