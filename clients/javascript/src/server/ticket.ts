import { Http } from "../http.js";
import type { CallOptions, GalleryOptions, Lane, Visibility } from "../types.js";

/** What a ticket is good for: `uses` uploads (1) within `expiresIn` seconds (600); the rest limits or sets what is uploaded. */
export interface TicketRules {
  uses?: number;
  expiresIn?: number;
  /** Of each file. */
  maxBytes?: number;
  /** Which types of pictures it takes: `["image/jpeg", …]` */
  types?: string[];
  visibility?: Visibility;
  /** Are added to those of each upload. */
  tags?: string[];
  lane?: Lane;
}

/** `ticket` is the browser's `auth` for `expiresIn` seconds; its `id` is for revoking it. */
export interface UploadTicket {
  ticket: string;
  expiresIn: number;
  id: string;
}

/**
 * A ticket by which a browser uploads for you, within these rules. `options.auth` is your server's own credential. Throws
 * `GalleryError`.
 */
export function uploadTicket(
  options: GalleryOptions,
  rules: TicketRules = {},
  { signal }: CallOptions = {},
): Promise<UploadTicket> {
  const call = { json: rules, signal, idempotent: true }; // a ticket whose answer was lost expires unused
  return new Http(options).json("POST", "/uploads/ticket", call);
}
