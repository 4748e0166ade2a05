/** Lists, reads, changes and deletes images. */

import { GalleryError } from "./errors.js";
import { type Http, readJson } from "./http.js";
import type { CallOptions, Image, ImageChanges, ImageFilter, ImagePage, Images } from "./types.js";

const CHECKED_AT_ONCE = 5000;

export function createImages(http: Http): Images {
  const page = async ({ cursor, ...filter }: ImageFilter & { cursor?: string } = {}): Promise<ImagePage> => {
    const query = filterQuery(filter);
    if (cursor !== undefined) query.push(["cursor", cursor]);
    return http.call("GET", "/images", { query, signal: filter.signal }, async (response) => ({
      images: await readJson<Image[]>(response),
      cursor: nextCursor(response.headers.get("Link") ?? ""),
    }));
  };
  return {
    page,
    async *list(filter = {}) {
      let cursor: string | null | undefined;
      while (cursor !== null) {
        const found: ImagePage = await page(cursor === undefined ? filter : { ...filter, cursor });
        yield* found.images;
        cursor = found.cursor;
      }
    },
    get: (id, { signal, signed } = {}) => http.json("GET", imagePath(id), { signal, query: signedQuery(signed) }),
    edit: (id, changes, options = {}) => edit(http, id, changes, options),
    delete: (id, { signal } = {}) => http.json("DELETE", imagePath(id), { signal }),
    async check(sha256s, { signal } = {}) {
      const asked = [...new Set(sha256s)];
      const found = new Map<string, string>();
      for (let start = 0; start < asked.length; start += CHECKED_AT_ONCE) {
        const json = asked.slice(start, start + CHECKED_AT_ONCE).map((sha256) => ({ id: sha256, sha256 }));
        const options = { json, signal, idempotent: true };
        for (const { id, image } of await http.json<{ id: string; image?: string }[]>("POST", "/images/check", options))
          if (image !== undefined) found.set(id, image);
      }
      return found;
    },
  };
}

export function imagePath(id: string): string {
  return `/images/${encodeURIComponent(id)}`;
}

function edit(
  http: Http,
  id: string,
  changes: ImageChanges,
  { ifVersion, signal }: CallOptions & { ifVersion?: number | undefined },
): Promise<Image> {
  const headers: Record<string, string> = ifVersion === undefined ? {} : { "If-Match": `"${ifVersion}"` };
  const send = async (tries: number) => {
    try {
      return await http.attempt("PATCH", imagePath(id), { headers, json: changes, signal }, readJson<Image>);
    } catch (error) {
      if (!tries || !(error instanceof GalleryError && error.code === "version_mismatch")) throw error;
      const image = await http.json<Image>("GET", imagePath(id), { signal });
      if (!hasChanges(image, changes)) throw error;
      return image; // an earlier try has made the changes, and its answer was lost
    }
  };
  return http.retrying(send, { idempotent: ifVersion !== undefined, signal });
}

function hasChanges(image: Image, changes: ImageChanges): boolean {
  return Object.entries(changes).every(
    ([name, value]) => JSON.stringify(image[name as keyof Image]) === JSON.stringify(value),
  );
}

function filterQuery({ search, tags = [], status, sort, ids, limit, signed }: ImageFilter): [string, string][] {
  const single = { search, status: status && String(status), sort, ids: ids && String(ids), limit };
  const query: [string, string][] = tags.map((tag) => ["tag", tag]);
  for (const [name, value] of Object.entries(single)) if (value !== undefined) query.push([name, String(value)]);
  return [...query, ...signedQuery(signed)];
}

function signedQuery(signed: boolean | undefined): [string, string][] {
  return signed ? [["signed", "true"]] : [];
}

/** Only the link's cursor: the token goes to no other address than the caller's. */
function nextCursor(links: string): string | null {
  const next = /<([^>]*)>\s*;[^,]*rel="?next"?/.exec(links)?.[1];
  return next === undefined ? null : new URL(next, "http://_").searchParams.get("cursor");
}
