/** A loader for `next/image`: https://nextjs.org/docs/app/api-reference/components/image#loader */

import { type LoaderOptions, pictureUrl } from "./source.js";

export type { LoaderOptions };

export interface NextLoaderProps {
  /** The id of an image, or one of its URLs. */
  src: string;
  /** In device pixels. */
  width: number;
  /** 1–100 */
  quality?: number;
}

/** The function for the `loader` of an `<Image>`, or for the default export of the file that `images.loaderFile` names. */
export function galleryLoader(options: LoaderOptions = {}): (props: NextLoaderProps) => string {
  return ({ src, width, quality }) => pictureUrl(src, { width, quality }, options);
}
