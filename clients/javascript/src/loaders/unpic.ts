/** A provider for `unpic` and the components of `@unpic/*`: https://unpic.pics/lib */

import {
  canonical,
  imagePath,
  type LoaderOptions,
  type Operations,
  parseSource,
  pictureUrl,
  withQuery,
} from "./source.js";

export type { LoaderOptions, Operations };

export interface Extracted {
  src: string;
  operations: Operations;
  options: LoaderOptions;
}

/** The picture's URL without its operations, and these. `null` if it is no image of Gallery, or signed. */
export function extract(url: string | URL): Extracted | null {
  const found = parseSource(String(url));
  if (!found) return null;
  const { v, w, h, q, bg, ...own } = found.query;
  const all = { ...own, width: w && Number(w), height: h && Number(h), quality: q && Number(q), background: bg };
  return {
    src: withQuery(imagePath(found), canonical({ v })),
    operations: Object.fromEntries(Object.entries(all).filter(([, value]) => value)),
    options: found.base ? { url: found.base } : {},
  };
}

/** The URL of the picture with these operations and no others. */
export function generate(src: string | URL, operations: Operations, options?: LoaderOptions): string {
  return pictureUrl(extract(src)?.src ?? String(src), operations, options);
}

/** The `transformer` for `@unpic/*`: these operations, on top of those of the URL. */
export function transform(src: string | URL, operations: Operations, options?: LoaderOptions): string {
  return pictureUrl(String(src), operations, options);
}
