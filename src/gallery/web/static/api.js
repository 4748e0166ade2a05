/** Gallery's API as functions. Whatever goes wrong is a `Problem` with a sentence to show. */

const IMAGES = "/api/v1/images";
const SESSION = "/api/v1/session";
const PASSING = [0, 408, 429, 502, 503, 504]; // statuses after which the same request is sent again, later

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
    this.retryAfter = Number(retryAfter) || 0;
  }

  /** Whether the server is busy or unavailable: the same request may succeed later. */
  get passing() {
    return PASSING.includes(this.status);
  }
}

/** One page, newest first, and where the next one is. `from` is such a `next`. */
export async function page(limit, from = `${IMAGES}?limit=${limit}`) {
  const response = await ask("GET", from);
  const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get("link") ?? "")?.[1];
  return { images: await response.json(), next: next ? local(next) : null };
}

/** @returns {Promise<Image>} */
export async function image(id) {
  return (await ask("GET", `${IMAGES}/${id}`)).json();
}

/** @returns {Promise<Image[]>} the ones that there are, of at most 200 */
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

/** @returns {Promise<Image>} Render it again; a FAILED one becomes PENDING. */
export async function reprocess(id) {
  return (await ask("POST", `${IMAGES}/${id}/reprocess`)).json();
}

/** @returns {Promise<{expiresAt: string, original: string, renditions: Array<object>}>} URLs for anyone, for a while */
export async function sign(id) {
  return (await ask("POST", `${IMAGES}/${id}/links`)).json();
}

export const original = (id) => `${IMAGES}/${id}/original`;

/** @param {string} credential an API key or a token; the answer is a cookie */
export async function signIn(credential) {
  if (!/^[\x21-\x7e]+$/.test(credential)) throw new Problem(401, { detail: "That is no API key and no token." });
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
 * The answer that an `img` or an `EventSource` was given, which tell a script nothing of it.
 *
 * @returns {Promise<{status: number, retryAfter: number}>} 200 where there is no refusal any more
 */
export async function refusal(url) {
  try {
    const { status } = await ask("HEAD", url, { Accept: "*/*" });
    return { status, retryAfter: 0 };
  } catch (problem) {
    return problem;
  }
}

async function ask(method, url, headers = {}, body = undefined) {
  const content = body ? { "Content-Type": "application/json" } : {};
  const request = { method, headers: { Accept: "application/json", ...content, ...headers }, body: JSON.stringify(body) };
  const response = await fetch(url, request).catch(() => {
    throw new Problem(0, null);
  });
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => null), response.headers.get("retry-after"));
}

/** The API may know itself by another name than the one we came by. */
function local(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

/**
 * An upload under way. `fetch` cannot tell how much has been sent, XMLHttpRequest can.
 *
 * @param {File} file
 * @param {(part: number) => void} onProgress from 0 to 1
 * @returns {{sent: Promise<void>, answer: Promise<{image: Image, created: boolean}>, abort: () => void}}
 *   `sent` when the last byte has left, or none will; `answer` fails with a `Problem`, status -1 when aborted
 */
export function upload(file, onProgress) {
  const request = new XMLHttpRequest();
  const sent = new Promise((resolve) => {
    request.upload.onloadend = () => resolve();
  });
  const answer = new Promise((resolve, reject) => {
    const fail = (status) => reject(new Problem(status, request.response, request.getResponseHeader("retry-after")));
    request.onload = () => {
      if (request.status >= 300 || !request.response) fail(request.status);
      else resolve({ image: request.response, created: request.status === 201 });
    };
    request.onerror = () => fail(0);
    request.onabort = () => fail(-1);
  });
  request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
  request.open("POST", IMAGES);
  request.responseType = "json";
  const form = new FormData();
  form.append("file", file, file.name);
  request.send(form);
  return { sent, answer, abort: () => request.abort() };
}
