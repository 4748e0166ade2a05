/** An image service for Astro: https://docs.astro.build/en/reference/image-service-reference/ */

import { type LoaderOptions, pictureUrl } from "./source.js";

/** Astro renders on a server, so `sign` may return a promise. */
export type AstroOptions = LoaderOptions<string | Promise<string>>;

/** The properties of an `<Image>`: of the picture, and attributes of the `<img>`. `src` is an object for files of the site. */
export interface Transform {
  [attribute: string]: unknown;
  src: string | { src: string; width?: number; height?: number };
  width?: number;
  height?: number;
  format?: string;
  quality?: number | string | null;
  fit?: string;
  position?: string;
  background?: string;
  widths?: number[];
  densities?: (number | string)[];
}

const QUALITIES: Record<string, number> = { low: 25, mid: 50, high: 80, max: 100 };
const FITS: Record<string, string | undefined> = { contain: "inside", "scale-down": "inside", none: undefined }; // CSS's
const OF_PICTURE = "src format formats quality fit position background widths densities layout".split(" ");

/** The service, with what `image.service.config` of Astro's configuration cannot hold: `sign`. */
export function galleryService(own: AstroOptions = {}) {
  return {
    getURL(image: Transform, config?: { service?: { config?: AstroOptions } }): string | Promise<string> {
      const { src, width, height, format, background } = image;
      if (typeof src !== "string") return src.src;
      const fit = image.fit && image.fit in FITS ? FITS[image.fit] : image.fit;
      const isCut = fit === "cover" || (!fit && width && height);
      const focus = isCut ? focusOf(image.position) : undefined;
      const quality = QUALITIES[image.quality ?? ""] ?? image.quality ?? undefined;
      const options = { ...config?.service?.config, ...own };
      return pictureUrl(src, { width, height, format, quality, fit, focus, background }, options);
    },

    getSrcSet({ widths = [], densities = [], ...image }: Transform) {
      const { width = 0, height } = image;
      const ratios = densities.map((density) => Number.parseFloat(`${density}`));
      const sizes = ratios.length ? ratios.map((x) => [width * x, `${x}x`]) : widths.map((w) => [w, `${w}w`]);
      return (sizes as [number, string][]).map(([w, descriptor]) => {
        const sides = { width: Math.round(w), ...(height && width && { height: Math.round((height * w) / width) }) };
        return { transform: { ...image, ...sides }, descriptor };
      });
    },

    getHTMLAttributes(image: Transform): Record<string, unknown> {
      const attributes = Object.entries(image).filter(([name]) => !OF_PICTURE.includes(name));
      const { width, height } = typeof image.src === "string" ? image : image.src; // a file of the site knows its own
      return { loading: "lazy", decoding: "async", width, height, ...Object.fromEntries(attributes) };
    },
  };
}

const PLACES: Record<string, number> = { left: 0, top: 0, center: 0.5, right: 1, bottom: 1 };

/** CSS's `object-position` as Gallery's focus: a name, or two of names and percents. `undefined` for what Gallery cannot say. */
function focusOf(position = ""): string | undefined {
  const [first = "", second, ...more] = position.trim().split(/\s+/);
  if (second === undefined) return /^([a-z]+|[\d.]+,[\d.]+)$/.test(first) ? first : undefined; // or in Gallery's own words
  const isTurned = /top|bottom/.test(first) || /left|right/.test(second);
  const point = (isTurned ? [second, first] : [first, second]).map(
    (word) => PLACES[word] ?? (word.endsWith("%") ? Number.parseFloat(word) / 100 : Number.NaN),
  );
  return more.length || point.some(Number.isNaN) ? undefined : String(point);
}

export default galleryService();
