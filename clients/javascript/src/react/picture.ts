/** Where an image's picture comes from, and how large it is. */

import type { CSSProperties } from "react";
import type { Focus, Gallery, Image, PictureQuery } from "../types.js";

export interface Wanted {
  image: Image;
  /** The box in CSS pixels. With one side, the other follows from the picture; with both, the picture is cut to it. */
  width?: number | undefined;
  height?: number | undefined;
  /** Let Gallery make a picture of just this box. Of images with signed URLs the browser makes it, in the same way. */
  fit?: "cover" | "contain" | "fill" | undefined;
  /** Let Gallery make the picture of a preset. Say its `width` and `height`, too, so that the page keeps their place. */
  preset?: string | undefined;
  /** The point that stays in sight where the picture is cut; by default the image's own. */
  focus?: Focus | undefined;
  /** How wide the page shows it, as of `<img>`; by default as wide as the box, and at most as the window. */
  sizes?: string | undefined;
}

export interface Box {
  width: number | undefined;
  height: number | undefined;
}

/**
 * The attributes of `<img>`, and the `<source>` of each other format, the smallest files first. React sets attributes in their
 * order, and Safari fetches `src` as soon as it is set: it is the last.
 */
export interface Sources {
  sizes?: string;
  srcSet: string;
  src: string | undefined;
  others: { type: string; srcSet: string; sizes: string }[];
}

const SMALLEST_FIRST = ["avif", "webp"];

export function boxOf({ image, width, height }: Wanted): Box {
  if (!image.width || !image.height) return { width, height };
  const ratio = ratioOf(image);
  return {
    width: width ?? Math.round(height ? height * ratio : image.width),
    height: height ?? Math.round(width ? width / ratio : image.height),
  };
}

export function sourcesOf(gallery: Gallery, wanted: Wanted, box: Box): Sources {
  return isOnDemand(wanted) ? onDemand(gallery, wanted) : renditions(gallery, wanted, box);
}

/** How the browser cuts the picture to the box. */
export function cutOf(wanted: Wanted): CSSProperties {
  const { width, height, fit = "cover", focus = wanted.image.focus } = wanted;
  return {
    ...(width && height && !isOnDemand(wanted) && { objectFit: fit }),
    ...(focus && { objectPosition: `${100 * focus.x}% ${100 * focus.y}%` }),
  };
}

/** A signature of the image is good for its renditions alone. */
function isOnDemand({ image, width, height, fit, preset }: Wanted): boolean {
  return Boolean(preset || (fit && (width || height))) && !image.original.includes("sig=");
}

function onDemand(gallery: Gallery, { image, width: w, height: h, fit, preset, focus }: Wanted): Sources {
  const box = {
    ...(w && { w }),
    ...(h && { h }),
    ...(fit && { fit }),
    ...(focus && { focus: `${focus.x},${focus.y}` }),
  };
  const url = (dpr: PictureQuery): string => gallery.pictureUrl(image, { ...(preset ? { preset } : box), ...dpr });
  return { srcSet: `${url({})}, ${url({ dpr: 2 })} 2x`, src: url({}), others: [] };
}

function renditions(gallery: Gallery, { image, sizes }: Wanted, { width, height }: Box): Sources {
  const rank = (format: string): number => SMALLEST_FIRST.indexOf(format) + 1 || 9;
  const formats = Object.keys(image.srcset).sort((a, b) => rank(a) - rank(b));
  const shown = `${Math.ceil(Math.max(Number(width), Number(height) * ratioOf(image)))}px`;
  const others = formats.map((format) => ({
    type: `image/${format}`,
    srcSet: gallery.srcset(image, format),
    sizes: sizes ?? `(max-width: ${shown}) 100vw, ${shown}`,
  }));
  const { type: _, srcSet = "", ...more } = others.pop() ?? {};
  return { ...more, srcSet, src: /(\S+) \S*$/.exec(srcSet)?.[1], others };
}

function ratioOf({ width, height }: Image): number {
  return Number(width) / Number(height);
}
