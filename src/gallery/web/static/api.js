/** Gallery's API as functions. Each failure is a `Problem` with a sentence to show. */

export const IMAGES = "/api/v1/images";
const PRESETS = "/api/v1/presets";
const SESSION = "/api/v1/session";
const PICTURES = "image/avif,image/webp,*/*";
const PASSING = [0, 408, 429, 502, 503, 504]; // statuses of refusals that end by themselves

/**
 * @typedef {object} Image
 * @property {string} id
 * @property {string} title
 * @property {string} alt
 * @property {"PENDING" | "PROCESSING" | "READY" | "FAILED"} status
 * @property {number} version
 * @property {?number} width
 * @property {?number} height
 * @property {number} size in bytes
 * @property {string} mimeType
 * @property {string} originalName
 * @property {?{x: number, y: number}} focus
 * @property {"public" | "private"} visibility
 * @property {?{code: string, message: string}} error
 * @property {Array<{name: string, format: string, width: number, height: number, url: string}>} renditions
 * @property {Object<string, string>} srcset by format
 * @property {?{thumbhash: string, color: string}} placeholder
 * @property {Object<string, string | number>} exif
 * @property {string} createdAt
 */

export class Problem extends Error {
  /**
   * @param {number} status 0 when there was no answer at all
   * @param {?object} body `application/problem+json`
   * @param {?string} retryAfter seconds
   */
  constructor(status, body, retryAfter = null) {
    const details = (body?.errors ?? []).map(({ pointer, detail }) => `${pointer.slice(1)} ${detail}`.trim());
    super([body?.detail ?? "Gallery cannot be reached.", ...details].join(" "));
    this.status = status;
    this.code = body?.code ?? null;
    this.retryAfter = Number(retryAfter) || 0;
  }

  /** Whether the server is busy or unavailable: the same request may succeed later. */
  get passing() {
    return PASSING.includes(this.status);
  }
}

/** One page, newest first, and the link `next` to the next page, which `from` takes. */
export async function page(limit, from = `${IMAGES}?limit=${limit}`) {
  const response = await ask("GET", from);
  const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get("link") ?? "")?.[1];
  return { images: await response.json(), next: next ? local(next) : null };
}

/** @returns {Promise<Image>} */
export async function image(id) {
  return (await ask("GET", `${IMAGES}/${id}`)).json();
}

/** @returns {Promise<Image[]>} those of the ids that exist; at most 200 ids */
export async function several(ids) {
  return (await ask("GET", `${IMAGES}?ids=${ids.join(",")}`)).json();
}

/** @returns {Promise<Image>} Refused when the image has changed since `version`. */
export async function edit(id, version, changes) {
  return (await ask("PATCH", `${IMAGES}/${id}`, { "If-Match": `"${version}"` }, changes)).json();
}

export async function remove(id) {
  await ask("DELETE", `${IMAGES}/${id}`);
}

/** @returns {Promise<Image>} Render the image again; a FAILED one becomes PENDING. */
export async function reprocess(id) {
  return (await ask("POST", `${IMAGES}/${id}/reprocess`)).json();
}

/** @returns {Promise<{expiresAt: string, original: string, renditions: Array<object>}>} signed URLs, valid without credentials until `expiresAt` */
export async function sign(id) {
  return (await ask("POST", `${IMAGES}/${id}/links`)).json();
}

export const original = (id) => `${IMAGES}/${id}/original`;

/** The URL of a picture on demand. @param {string} id @param {string} query */
export const picture = (id, query) => `${IMAGES}/${id}/picture${query && `?${query}`}`;

/** @param {string} url @param {AbortSignal} signal @returns {Promise<Blob>} in the best format that browsers show */
export async function pictureFile(url, signal) {
  return (await ask("GET", url, { Accept: PICTURES }, undefined, signal)).blob();
}

/** @returns {Promise<Array<{name: string, query: string}>>} */
export async function presets() {
  return (await ask("GET", PRESETS)).json();
}

/** @param {string} credential an API key or a token; the response sets a cookie */
export async function signIn(credential) {
  if (!/^[\x21-\x7e]+$/.test(credential)) throw new Problem(401, { detail: "This is neither an API key nor a token." });
  await ask("POST", SESSION, { Authorization: `Bearer ${credential}` });
}

export async function signOut() {
  await ask("DELETE", SESSION);
}

/** @returns {Promise<{owner: string, scopes: string[]}>} the caller */
export async function session() {
  return (await ask("GET", SESSION)).json();
}

/**
 * The status of a URL that an `img` or an `EventSource` could not load: scripts cannot read it from those.
 *
 * @returns {Promise<{status: number, retryAfter: number}>} 200 if the server no longer refuses
 */
export async function refusal(url) {
  try {
    const { status } = await ask("HEAD", url, { Accept: "*/*" });
    return { status, retryAfter: 0 };
  } catch (problem) {
    return problem;
  }
}

/** @returns {Promise<Response>} */
export async function ask(method, url, headers = {}, body = undefined, signal = undefined) {
  const content = body ? { "Content-Type": "application/json" } : {};
  const request = { method, headers: { Accept: "application/json", ...content, ...headers }, body: JSON.stringify(body), signal };
  const response = await fetch(url, request).catch(() => {
    throw new Problem(0, null);
  });
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => null), response.headers.get("retry-after"));
}

/** The path of a URL: the API's public host may differ from the one of this page. */
export function local(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}
