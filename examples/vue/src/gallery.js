import { createGallery, createUploadQueue } from "gallery-client";
import { onScopeDispose, shallowRef } from "vue";

export const gallery = createGallery({
  url: import.meta.env.VITE_GALLERY_URL ?? "http://127.0.0.1:3000",
  auth: () => sessionStorage.getItem("token") ?? undefined, // of your sign-in; an open Gallery needs none
});

/** The files on their way, which end with the component. */
export function useUploads() {
  const queue = createUploadQueue(gallery);
  const items = shallowRef(queue.items());
  queue.subscribe(() => {
    items.value = queue.items();
  });
  onScopeDispose(queue.close);
  return { ...queue, items };
}

/** The newest images, read again whenever one of them changes. */
export function useImages(filter) {
  const images = shallowRef([]);
  const error = shallowRef();
  const stop = new AbortController();
  const { signal } = stop;
  onScopeDispose(() => stop.abort());

  const fail = (problem) => {
    if (!signal.aborted) error.value = problem;
  };
  let reading = Promise.resolve(); // one after the other: the newest answer stays
  const read = () => {
    const load = async () => {
      ({ images: images.value } = await gallery.images.page({ ...filter, signal }));
      error.value = undefined;
    };
    reading = reading.then(load).catch(fail);
    return reading;
  };
  const follow = async () => {
    const events = gallery.events({ signal, onOpen: read });
    for await (const { type } of events) if (type !== "image.processing") await read();
  };
  if (globalThis.document) follow().catch(fail); // not where a server renders the page
  return { images, error };
}
