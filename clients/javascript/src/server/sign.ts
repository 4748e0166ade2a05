/** Signs URLs of pictures on demand with a link key. Runs in Node, on edge runtimes and, for tests, in browsers. */

import type { Image, PictureQuery } from "../types.js";

export interface SignOptions {
  /** Where Gallery is: `https://img.example.org` */
  url: string;
  /** A link key, `id:secret`, from `gallery keys links create` */
  key: string;
  /** An image, or its id */
  image: string | Pick<Image, "id">;
  /** What the picture should be: `{ w: 800, fit: "cover" }` or `"w=800&fit=cover"` */
  query?: string | PictureQuery;
  /** When the URL expires, in seconds since 1970; by default in one to two hours */
  expiresAt?: number;
}

/** The URL of a picture that every client may see until it expires. Throws `TypeError` for other parameters. */
export async function sign({ url, key, image, query = "", expiresAt = nextWindow() }: SignOptions): Promise<string> {
  const [keyId = "", secret = ""] = key.split(":");
  const id = typeof image === "string" ? image : image.id;
  const parameters = canonicalQuery(query);
  const message = `gallery:picture:1\n${id.toLowerCase()}\n${expiresAt}\n${parameters}`;
  const signature = `kid=${encodeURIComponent(keyId)}&exp=${expiresAt}&sig=${await hmac(secret, message)}`;
  return `${url.replace(/\/+$/, "")}/api/v1/images/${id}/picture?${parameters}${parameters && "&"}${signature}`;
}

/** The parameters sorted by name, as they are. */
export function canonicalQuery(query: string | PictureQuery): string {
  const entries: [string, unknown][] =
    typeof query === "string" ? [...new URLSearchParams(query)] : Object.entries(query);
  const pairs = entries
    .filter(([, value]) => value !== undefined && value !== false)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const names = new Set(pairs.map(([name]) => name));
  if (names.size < pairs.length) throw new TypeError("a parameter is there twice");
  for (const [name, value] of pairs) {
    if (!/^[A-Za-z]+$/.test(name) || !/^[\w.,-]*$/.test(`${value}`))
      throw new TypeError(`no picture has ${name}=${value}`);
  }
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}

/** The same for an hour, so that browsers find the picture in their caches. */
function nextWindow(seconds = 3600): number {
  return (Math.floor(Date.now() / 1000 / seconds) + 2) * seconds;
}

async function hmac(secret: string, message: string): Promise<string> {
  const bytes = Uint8Array.from(atob(secret.replaceAll("-", "+").replaceAll("_", "/")), (byte) => byte.charCodeAt(0));
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(message));
  return btoa(String.fromCharCode(...new Uint8Array(signature)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
