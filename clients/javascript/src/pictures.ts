/** URLs of images and their pictures, with the address of Gallery. */

import type { Http } from "./http.js";
import type { Gallery, Image, PictureQuery } from "./types.js";

export function createPictures({ url }: Http): Pick<Gallery, "pictureUrl" | "srcset" | "absolute"> {
  const absolute = (path: string) => new URL(path, `${url}/`).href;
  return {
    absolute,
    pictureUrl: (image, query = {}) => picturePath(url, image, pictureParameters(query)),
    srcset(image, format) {
      const text = format === undefined ? Object.values(image.srcset)[0] : image.srcset[format];
      return (text ?? "").replace(/(^|, )(\S+)/g, (_, comma: string, path: string) => comma + absolute(path));
    },
  };
}

export function picturePath(url: string, image: string | Image, query: string): string {
  const id = typeof image === "string" ? image : image.id;
  return `${url}/api/v1/images/${encodeURIComponent(id)}/picture?${query}`;
}

/** `w=200&fit=cover`, in the order given. Throws `TypeError` for parameters that no picture has. */
export function pictureParameters(query: string | PictureQuery | Record<string, string>): string {
  const entries = typeof query === "string" ? [...new URLSearchParams(query)] : Object.entries(query);
  const pairs = entries.filter(([, value]) => value !== undefined && value !== false);
  const names = new Set(pairs.map(([name]) => name));
  if (names.size < pairs.length) throw new TypeError("a parameter is there twice");
  for (const [name, value] of pairs) {
    if (!/^[A-Za-z]+$/.test(name) || !/^[\w.,-]*$/.test(String(value)))
      throw new TypeError(`no picture has the parameter ${name}=${value}`);
  }
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}
