/** What the loaders share: from an image's id or URL, and the size that a framework wants, to the URL of a picture on demand. */

/** A picture on demand: `query` is its parameters in canonical order, without `v`. */
export interface Picture {
  image: string;
  query: string;
  url: string;
}

export interface LoaderOptions<Signed = string> {
  /** Where Gallery is: `https://img.example.org`. Without it, the URL of an id is a path, for an app on the same origin. */
  url?: string;
  /**
   * For anonymous visitors, who may ask for presets alone. The name of a preset; or names with their widths in pixels:
   * the smallest that is wide enough is taken, with a `dpr` of 1, 2 or 3.
   */
  preset?: string | Record<string, number>;
  /** Gives the URL to use: a signed link to this picture, made by a server. */
  sign?: (picture: Picture) => Signed;
}

/** A picture in the words of frameworks; other names are Gallery's own, such as `focus` and `gray`. */
export interface Operations {
  [name: string]: unknown;
  width?: number | string | undefined;
  height?: number | string | undefined;
  quality?: number | string | undefined;
  format?: string | undefined;
  fit?: string | undefined;
  background?: string | undefined;
}

type Query = Record<string, unknown>;

/** An image in Gallery: `base` is what its URL has before `/api/v1`, `query` the parameters of a picture on demand. */
export interface Source {
  base: string | undefined;
  image: string;
  query: Record<string, string>;
}

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const ID = new RegExp(`^/?(${UUID})$`, "i");
const IMAGE_URL = new RegExp(`^(.*)/api/v1/images/(${UUID})/(original|picture|[\\w-]+\\.\\w+)(?:\\?(.*))?$`, "i");
const MAX_SIDE = 8192;

/** The image that an id or a URL names. `null` for other files, and for signed URLs: a parameter would break the signature. */
export function parseSource(source: string): Source | null {
  const id = ID.exec(source)?.[1];
  if (id) return { base: undefined, image: id, query: {} };
  const [, base, image, kind, parameters] = IMAGE_URL.exec(source) ?? [];
  const query = Object.fromEntries(new URLSearchParams(parameters));
  if (!image || "sig" in query) return null;
  return { base, image, query: kind === "picture" ? query : {} }; // the `v` of a rendition is another one
}

/** The URL of the picture. `source` itself where it is a signed URL, names a preset, or is no image of Gallery. */
export function pictureUrl<Signed = string>(
  source: string,
  operations: Operations,
  options: LoaderOptions<Signed> = {},
): string | Signed {
  const found = parseSource(source);
  if (!found || found.query.preset) return source;
  const { v, ...own } = found.query;
  const wanted = limited(merged(own, translated(operations)));
  const chosen = options.preset ? presetFor(options.preset, wanted.w as number | undefined) : wanted;
  const path = imagePath(found, options.url);
  const url = withQuery(path, canonical({ ...chosen, v }));
  return options.sign ? options.sign({ image: found.image, query: canonical(chosen), url }) : url;
}

export function imagePath({ base, image }: Source, url = ""): string {
  return `${base || url.replace(/\/+$/, "")}/api/v1/images/${image}/picture`;
}

export function withQuery(path: string, query: string): string {
  return query ? `${path}?${query}` : path;
}

/** `name=value` of each parameter that is set, sorted by name. */
export function canonical(query: Query): string {
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== false);
  return set
    .map(([name, value]) => `${name}=${encodeURIComponent(`${value}`).replaceAll("%2C", ",")}`)
    .sort()
    .join("&");
}

function translated({ width, height, quality, format, background, ...own }: Operations): Query {
  const [w, h] = [pixels(width), pixels(height)];
  const fit = own.fit ?? (w && h ? "cover" : undefined);
  return {
    ...own,
    w,
    h,
    fit,
    q: quality,
    format: format === "jpg" ? "jpeg" : format,
    bg: background?.replace(/^#?(\w)(\w)(\w)$/, "$1$1$2$2$3$3").replace("#", ""),
  };
}

function pixels(side: number | string | undefined): number | undefined {
  const number = Number(side);
  return number ? Math.max(1, Math.round(number)) : undefined; // none of "100%"
}

/** What is wanted, on top of what the source's URL asks for. A width alone keeps the ratio of its box. */
function merged({ dpr: _, ...own }: Record<string, string>, wanted: Query): Query {
  const set = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
  const ratio = Number(own.h) / Number(own.w);
  const height = set.w && !set.h && ratio ? { h: Math.max(1, Math.round(Number(set.w) * ratio)) } : {};
  return { ...own, ...height, ...set };
}

/** With sides that Gallery takes, in the same ratio. */
function limited(query: Query): Query {
  const excess = Math.max(Number(query.w ?? 1), Number(query.h ?? 1)) / MAX_SIDE;
  if (excess <= 1) return query;
  const shrink = (side: unknown) => side && Math.max(1, Math.floor(Number(side) / excess));
  return { ...query, w: shrink(query.w), h: shrink(query.h) };
}

function presetFor(preset: string | Record<string, number>, width = Number.POSITIVE_INFINITY): Query {
  if (typeof preset === "string") return { preset };
  const sizes = Object.entries(preset).flatMap(([name, px]) =>
    [1, 2, 3].map((dpr) => ({ name, dpr, width: px * dpr })),
  );
  sizes.sort((one, other) => one.width - other.width || one.dpr - other.dpr);
  const best = sizes.find((size) => size.width >= width) ?? sizes.at(-1);
  return { preset: best?.name, dpr: best && best.dpr > 1 ? best.dpr : undefined };
}
