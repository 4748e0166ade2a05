import type { Http } from "./http.js";
import type { Gallery, Image, ResumeStorage } from "./types.js";

/** Makes `gallery.upload`: for now by a form alone. */
export function createUpload(http: Http, _storage: ResumeStorage | null): Gallery["upload"] {
  return (file, { title, idempotencyKey = crypto.randomUUID(), signal } = {}) => {
    const body = new FormData();
    if (title !== undefined) body.set("title", title);
    body.set("file", file);
    return http.json<Image>("POST", "/images", { body, signal, headers: { "Idempotency-Key": idempotencyKey } });
  };
}
