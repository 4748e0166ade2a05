/** URLs of images and their pictures, with the address of Gallery. */

import type { Http } from "./http.js";
import { canonicalQuery } from "./server/sign.js";
import type { Gallery, Image } from "./types.js";

export function createPictures({ url }: Http): Pick<Gallery, "pictureUrl" | "srcset" | "absolute"> {
  const absolute = (path: string) => new URL(path, `${url}/`).href;
  return {
    absolute,
    pictureUrl: (image, query = {}) => picturePath(url, image, canonicalQuery(query)),
    srcset(image, format) {
      const text = format === undefined ? Object.values(image.srcset)[0] : image.srcset[format];
      return (text ?? "").replace(/(^|, )(\S+)/g, (_, comma: string, path: string) => comma + absolute(path));
    },
  };
}

function picturePath(url: string, image: string | Image, query: string): string {
  const id = typeof image === "string" ? image : image.id;
  return `${url}/api/v1/images/${encodeURIComponent(id)}/picture?${query}`;
}
