import type { Gallery, Image } from "../types.js";

/** A client, and what it knows about showing images. */
export interface Connection {
  readonly gallery: Gallery;
  /** A URL for `<img>` of the image's smallest rendition, by the right to see it. */
  preview(image: Image): Promise<string | undefined>;
}

/** The URL of the smallest rendition: that of a public image, or one that is signed. */
export function thumbnailUrl(gallery: Gallery, { renditions }: Image): string | undefined {
  const smallest = [...renditions].sort((a, b) => a.width - b.width)[0];
  return smallest && gallery.absolute(smallest.url);
}

export function direct(gallery: Gallery): Connection {
  return { gallery, preview: async ({ id }) => thumbnailUrl(gallery, await gallery.images.get(id, { signed: true })) };
}

/** A client that is there in a moment: of tickets, which only some pages need. `base` is for what needs no credential. */
export function later(base: Gallery, load: () => Promise<Connection>): Connection {
  const images = async () => (await load()).gallery.images;
  return {
    gallery: {
      ...base,
      upload: async (...given) => (await load()).gallery.upload(...given),
      async *events(options) {
        yield* (await load()).gallery.events(options);
      },
      images: {
        ...base.images,
        get: async (...given) => (await images()).get(...given),
        page: async (...given) => (await images()).page(...given),
      },
    },
    preview: async (image) => (await load()).preview(image),
  };
}
