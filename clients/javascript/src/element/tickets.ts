/** Uploads by tickets. Pages load this only where they use it. */

import { createGallery } from "../index.js";
import type { EventOptions, Gallery, GalleryEvent, Image, UploadOptions } from "../types.js";
import { type Connection, thumbnailUrl } from "./connection.js";

/** A ticket for uploads, as the page's own server hands it out. */
export interface Ticket {
  ticket: string;
  /** How many uploads it is good for; by default 1. */
  uses?: number;
  /** Seconds until it ends; by default 600. */
  expiresIn?: number;
}

/** Brings a ticket; `files` is the number of files that wait for one. */
export type GetTicket = (wanted: { files: number }) => Promise<Ticket>;

interface Pass {
  gallery: Gallery;
  ticket: string;
  left: number;
  endsAt: number;
}

/** Asks the page's own server for a ticket. */
export async function postForTicket(address: string, files: number): Promise<Ticket> {
  const response = await fetch(address, {
    method: "POST",
    headers: { Accept: "application/json", "Content-Type": "application/json" },
    body: JSON.stringify({ files }),
  }).catch((cause) => fail("unavailable", 0, cause));
  if (!response.ok) return fail("ticket_refused", response.status);
  return response.json().catch((cause) => fail("ticket_refused", 500, cause));
}

function fail(code: string, status: number, cause?: unknown): never {
  throw Object.assign(new Error("There is no upload ticket.", { cause }), { code, status });
}

/**
 * Uploads by tickets. An image can only be read by the ticket that uploaded it, and a file goes on by the one that it began
 * with.
 */
export function byTickets(url: string, get: GetTicket, waiting: () => number): Connection {
  const passes = new Passes(url, get, waiting);
  const stored = new Map<string, { image: Image; pass: Pass }>();
  const settled = new Settled();
  const base = createGallery({ url });

  const upload: Gallery["upload"] = async (file, options) => {
    const { image, pass } = await passes.send(file, options);
    stored.set(image.id, { image, pass });
    settled.waitFor(image.id, pass.gallery);
    return image;
  };
  const read = async (id: string): Promise<Image> => {
    const known = stored.get(id);
    return (known?.pass.gallery ?? base).images.get(id).catch((error) => {
      if (!known || error.status !== 401) throw error;
      const stored: Image = { ...known.image, status: "READY" }; // the ticket has ended: this page cannot learn more
      return base.images.get(id).catch((refusal) => {
        if (refusal.temporary) throw refusal;
        return stored;
      });
    });
  };
  const page: Gallery["images"]["page"] = async ({ ids = [] } = {}) => {
    const found = ids.map((id) =>
      read(id).catch((error) => {
        if (error.temporary) throw error;
        return undefined; // of this one alone
      }),
    );
    return { images: (await Promise.all(found)).filter((image) => image !== undefined), cursor: null };
  };
  return {
    gallery: {
      ...base,
      upload,
      images: { ...base.images, get: read, page },
      events: (options) => settled.events(options),
    },
    async preview(image) {
      const headers = { Authorization: `Upload ${stored.get(image.id)?.pass.ticket}` };
      const response = await fetch(thumbnailUrl(base, image) ?? "", { headers });
      return response.ok ? URL.createObjectURL(await response.blob()) : undefined;
    },
  };
}

/** Tickets as clients, each for as many uploads as it is good for. */
class Passes {
  readonly #ofFile = new WeakMap<Blob, Pass>();
  #current: Promise<Pass> | undefined;

  constructor(
    private readonly url: string,
    private readonly get: GetTicket,
    private readonly waiting: () => number,
  ) {}

  /** A ticket that is used up or has ended before its time is replaced once. */
  async send(file: Blob, options?: UploadOptions): Promise<{ image: Image; pass: Pass }> {
    const known = this.#ofFile.get(file);
    let pass = known && isValid(known) ? known : await this.#take();
    for (let tries = 0; ; tries += 1) {
      this.#ofFile.set(file, pass);
      try {
        return { image: await pass.gallery.upload(file, options), pass };
      } catch (error) {
        const { code, status } = error as { code?: string; status?: number };
        if (tries || (code !== "upload_ticket_used_up" && status !== 401)) throw error;
        pass.left = pass.endsAt = 0;
        pass = await this.#take();
      }
    }
  }

  async #take(): Promise<Pass> {
    for (;;) {
      const isNew = !this.#current;
      this.#current ??= this.#ask();
      const asked = this.#current;
      const pass = await asked.catch((error) => {
        if (this.#current === asked) this.#current = undefined;
        throw error;
      });
      if (isNew || (pass.left > 0 && isValid(pass))) {
        pass.left -= 1;
        return pass;
      }
      if (this.#current === asked) this.#current = undefined;
    }
  }

  async #ask(): Promise<Pass> {
    const { ticket, uses = 1, expiresIn = 600 } = await this.get({ files: Math.max(1, this.waiting()) });
    const gallery = createGallery({ url: this.url, auth: ticket });
    return { gallery, ticket, left: uses, endsAt: Date.now() + expiresIn * 900 };
  }
}

/** Some time before the ticket ends, so that an upload can still be followed. */
function isValid(pass: Pass): boolean {
  return Date.now() < pass.endsAt;
}

/** Events of images that are READY or FAILED, for a queue that knows one client where there is one for each ticket. */
class Settled {
  readonly #ids: string[] = [];
  #wake = () => {};

  waitFor(id: string, gallery: Gallery): void {
    const done = () => {
      this.#ids.push(id);
      this.#wake();
    };
    gallery.wait(id).then(done, (error) => {
      if (error.temporary || error.name === "GalleryTimeout") this.waitFor(id, gallery);
      else done();
    });
  }

  async *events({ signal }: EventOptions = {}): AsyncGenerator<GalleryEvent, void, undefined> {
    signal?.addEventListener("abort", () => this.#wake(), { once: true });
    while (!signal?.aborted) {
      const imageId = this.#ids.shift();
      if (imageId) yield { id: "", type: "image.ready", imageId };
      else await new Promise<void>((wake) => (this.#wake = wake));
    }
  }
}
