/** What the client takes and returns. The JSON of the API is described in `schema.ts`, from the OpenAPI document. */

/** The point that crops keep in sight: from 0 (left, top) to 1 (right, bottom). */
export interface Focus {
  x: number;
  y: number;
}

export type Status = "PENDING" | "PROCESSING" | "READY" | "FAILED";
export type Visibility = "private" | "public";
export type Lane = "interactive" | "bulk";
export type Sort = "-createdAt" | "createdAt" | "-takenAt" | "title" | "-size";

/** A rendered file: `width` and `height` in pixels, `size` in bytes. */
export interface Rendition {
  name: string;
  format: string;
  width: number;
  height: number;
  size: number;
  url: string;
}

/** An image. `size` in bytes; `width` and `height` in pixels of the upright picture, `null` until READY. */
export interface Image {
  id: string;
  title: string;
  description: string;
  alt: string;
  tags: string[];
  originalName: string;
  mimeType: string;
  size: number;
  sha256: string;
  width: number | null;
  height: number | null;
  status: Status;
  version: number;
  attempts: number;
  error: { code: string; message: string } | null;
  animated: boolean;
  focus: Focus | null;
  visibility: Visibility;
  renditions: Rendition[];
  srcset: Record<string, string>;
  original: string;
  s3Key: string;
  s3Url: string | null;
  placeholder: { thumbhash: string; color: string } | null;
  exif: Record<string, unknown>;
  createdAt: string;
  updatedAt: string;
  /** Of an upload: these bytes were there already. */
  duplicate?: boolean;
}

/** A token, or a function that brings one: it is called for each request, so it can bring a new one. */
export type Auth = string | (() => string | undefined | Promise<string | undefined>);

export interface GalleryOptions {
  /** Where Gallery is: `https://img.example.org` */
  url: string;
  /** An API key, a JWT, an upload ticket (`gt_…`), or a function that brings one. Without it the caller is anonymous. */
  auth?: Auth;
  /** Another `fetch` than the global one. */
  fetch?: typeof fetch;
  /** How long a call that fails is tried again; by default 30 seconds. */
  retryForMs?: number;
  /** Where unfinished uploads are remembered; by default `localStorage` where there is one. `null`: nowhere. */
  storage?: ResumeStorage | null;
}

/** What of `Storage` the client needs. */
export interface ResumeStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface UploadFields {
  title?: string;
  description?: string;
  alt?: string;
  tags?: string[];
  visibility?: Visibility;
  lane?: Lane;
  focus?: Focus;
}

export interface UploadOptions extends UploadFields {
  /** The file's name, where the blob has none. */
  name?: string;
  /** Gets the bytes that were sent and their number; after a break, fewer than before. */
  onProgress?: (sent: number, total: number) => void;
  signal?: AbortSignal | undefined;
  /** A text that makes the upload the same one when it is repeated, for a day. By default each call has its own. */
  idempotencyKey?: string;
}

export interface ImageFilter {
  search?: string;
  tags?: string[];
  status?: Status | Status[];
  sort?: Sort;
  ids?: string[];
  /** The size of a page, 1 to 200. */
  limit?: number;
  /** Let the URLs of the images carry signatures, for `<img>` of private images. */
  signed?: boolean;
  signal?: AbortSignal | undefined;
}

export interface ImageChanges {
  title?: string;
  description?: string;
  alt?: string;
  tags?: string[];
  focus?: Focus | null;
}

/** One page of a list; `cursor` leads to the next, `null` after the last. */
export interface ImagePage {
  images: Image[];
  cursor: string | null;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface Images {
  /** All images of this filter, page by page, newest first if `sort` says nothing else. */
  list(filter?: ImageFilter): AsyncGenerator<Image, void, undefined>;
  page(filter?: ImageFilter & { cursor?: string }): Promise<ImagePage>;
  get(id: string, options?: CallOptions & { signed?: boolean }): Promise<Image>;
  /** With `ifVersion`, only if that is still its version (else `version_mismatch`). */
  edit(id: string, changes: ImageChanges, options?: CallOptions & { ifVersion?: number }): Promise<Image>;
  delete(id: string, options?: CallOptions): Promise<Image>;
  /** Which of these files are here: the id of the image by the file's SHA-256 (hex). */
  check(sha256s: string[], options?: CallOptions): Promise<Map<string, string>>;
}

export type EventType =
  | "image.uploaded"
  | "image.processing"
  | "image.ready"
  | "image.failed"
  | "image.updated"
  | "image.deleted"
  | "reset";

/** A change of an image. `reset`: earlier events are not known any more, read the list anew. */
export interface GalleryEvent {
  id: string;
  type: EventType;
  imageId?: string;
  status?: Status;
  version?: number;
  timestamp?: string;
  title?: string;
  s3Url?: string | null;
  error?: { code: string; message: string };
}

export interface EventOptions {
  /** By default all. `reset` comes in any case. */
  types?: Exclude<EventType, "reset">[];
  imageId?: string;
  /** Begin after this event; by default with the next one that happens. `"0"`: with all that are kept. */
  lastEventId?: string;
  signal?: AbortSignal | undefined;
  /** The connection stands: called at the start, and after each break. */
  onOpen?: () => void;
}

/** Parameters of a picture on demand: see "Pictures on demand" in the docs. */
export interface PictureQuery {
  w?: number;
  h?: number;
  fit?: "inside" | "cover" | "contain" | "fill";
  dpr?: number;
  focus?: string;
  rect?: string;
  rotate?: 90 | 180 | 270;
  flip?: "h" | "v" | "hv";
  format?: "auto" | "avif" | "webp" | "jpeg" | "png";
  q?: number;
  bg?: string;
  blur?: number;
  sharpen?: number;
  gray?: boolean;
  preset?: string;
}

export interface Gallery {
  /** The address of Gallery, without a slash at its end. */
  readonly url: string;
  readonly images: Images;
  /**
   * Upload a file; the image is still PENDING, or it was there (`duplicate`). From 8 MB on it goes in parts, and goes on
   * after a break, also after a reload of the page with the same file. Its SHA-256 has been compared with the file's.
   */
  upload(file: Blob, options?: UploadOptions): Promise<Image>;
  /** The image once it is READY; throws its own error if it has FAILED, `GalleryTimeout` when it is too late. */
  wait(image: string | Image, options?: { timeoutMs?: number; signal?: AbortSignal | undefined }): Promise<Image>;
  /** The changes, from now on or after an event, for ever, each event once and in order; goes on by itself after breaks. */
  events(options?: EventOptions): AsyncGenerator<GalleryEvent, void, undefined>;
  pictureUrl(image: string | Image, query?: PictureQuery): string;
  /** The image's renditions of a format for `<img srcset>`, with the address of Gallery. */
  srcset(image: Image, format?: string): string;
  /** A URL of the API, with the address of Gallery. */
  absolute(url: string): string;
}

export type UploadState = "waiting" | "uploading" | "paused" | "processing" | "ready" | "failed";

/** One file of an upload queue, as it is now: a change makes a new object. */
export interface UploadItem {
  readonly id: string;
  readonly file: File;
  readonly state: UploadState;
  readonly sent: number;
  readonly total: number;
  readonly image: Image | undefined;
  readonly error: Error | undefined;
}

export interface UploadQueueOptions {
  /** How many files go at once; by default 3. */
  concurrency?: number;
  /** Follow each image until it is READY or FAILED; by default true. Else an item is `ready` when it is stored. */
  wait?: boolean;
  /** Fields of all images; those of `add` come before them. */
  fields?: UploadFields;
  /** Let `remove` also delete the image, unless it was there before (`duplicate`); by default false. */
  deleteRemoved?: boolean;
}

/** Files on their way, as a store: `items` returns the same array until something changes. */
export interface UploadQueue {
  readonly items: () => readonly UploadItem[];
  readonly subscribe: (listener: () => void) => () => void;
  add(files: Iterable<File>, fields?: UploadFields): UploadItem[];
  /** Of one item, or of all. */
  pause(id?: string): void;
  resume(id?: string): void;
  retry(id?: string): void;
  remove(id: string): void;
  /** Ends all that is under way; the queue takes nothing more. */
  close(): void;
}
