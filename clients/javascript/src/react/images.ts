import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { Gallery, Image, ImageFilter, ImagePage } from "../types.js";
import { useGallery } from "./context.js";
import { ImageList, type ImagesResult, type ListSource, type Placing } from "./list.js";

export type ImagesFilter = Omit<ImageFilter, "signal">;

export interface ImageResult {
  /** `undefined` until it is read, and when it is deleted. */
  image: Image | undefined;
  error: Error | undefined;
  loading: boolean;
}

const NOTHING: ImagePage = { images: [], cursor: null };

/**
 * The images of a filter, page by page and live. An equal filter is the same list; another one aborts what the last one reads,
 * and shows its images until its own first page is there. `initial`: the first page, where a server has read it.
 */
export function useImages(filter: ImagesFilter = {}, initial?: ImagePage): ImagesResult {
  const gallery = useGallery();
  const key = JSON.stringify(filter);
  const [firstKey, first] = useRef([key, initial] as const).current;
  const page = key === firstKey || initial !== first ? initial : undefined; // not that of another filter
  // biome-ignore lint/correctness/useExhaustiveDependencies: the first page is of the first render
  const list = useMemo(() => new ImageList(gallery, filtered(gallery, JSON.parse(key)), page), [gallery, key]);
  const state = useSyncExternalStore(list.subscribe, list.get, list.get);
  const { images, loading } = state;
  const last = useRef({ gallery, images });
  useEffect(() => {
    if (!loading) last.current = { gallery, images };
  });
  const isBeginning = loading && !images.length && last.current.gallery === gallery;
  return isBeginning ? { ...state, images: last.current.images } : state;
}

/** One image, live. Without an `id` there is none. */
export function useImage(id: string | undefined, { signed = false } = {}): ImageResult {
  const gallery = useGallery();
  const list = useMemo(
    () => new ImageList(gallery, single(gallery, id, signed), id ? undefined : NOTHING),
    [gallery, id, signed],
  );
  const { images, error, loading } = useSyncExternalStore(list.subscribe, list.get, list.get);
  return { image: images[0], error, loading };
}

function single(gallery: Gallery, id: string | undefined, signed: boolean): ListSource {
  return {
    page: async ({ signal }) => ({
      images: id ? [await gallery.images.get(id, { signal, signed })] : [],
      cursor: null,
    }),
    concerns: (changed) => changed === id,
  };
}

function filtered(gallery: Gallery, filter: ImagesFilter): ListSource {
  const { signed = false, ids } = filter;
  return {
    page: (wanted) => gallery.images.page(wanted.ids ? { signed, ...wanted } : { ...filter, ...wanted }),
    concerns: (id) => !ids || ids.includes(id),
    placing: placing(filter),
  };
}

/** `undefined` where the server alone can tell: how it searches, compares titles, and when a picture was taken. */
function placing({ search, tags = [], status = [], sort = "-createdAt", ids }: ImagesFilter): Placing | undefined {
  if (ids || search || !sort.endsWith("createdAt")) return undefined;
  const statuses = [status].flat();
  const sign = sort === "createdAt" ? 1 : -1;
  const key = ({ createdAt, id }: Image): string => createdAt.replace("Z", " ") + id;
  return {
    matches: (image) =>
      tags.every((tag) => image.tags.includes(tag)) && (!statuses.length || statuses.includes(image.status)),
    compare: (a, b) => (key(a) < key(b) ? -sign : key(a) > key(b) ? sign : 0),
  };
}
