/** Signs URLs of pictures on demand with a link key. Runs in Node, in edge runtimes and, for tests, in browsers. */

/**
 * @param {object} picture
 * @param {string} picture.url Where Gallery is: https://img.example.org
 * @param {string} picture.key `id:secret`, from `gallery keys links create`
 * @param {string} picture.image The image's id
 * @param {string | Record<string, string>} picture.query What the picture should be: "w=800&h=600&fit=cover"
 * @param {number} [picture.exp] When the URL expires, in seconds since 1970; by default in one to two hours
 * @returns {Promise<string>} The URL
 */
export async function signPicture({ url, key, image, query, exp = nextWindow() }) {
  const [id, secret] = key.split(":");
  const parameters = canonicalQuery(query);
  const message = `gallery:picture:1\n${image.toLowerCase()}\n${exp}\n${parameters}`;
  const signature = `kid=${encodeURIComponent(id)}&exp=${exp}&sig=${await hmac(secret, message)}`;
  return `${url}/api/v1/images/${image}/picture?${parameters}${parameters && "&"}${signature}`;
}

/** The parameters sorted by name, as they are. */
export function canonicalQuery(query) {
  const pairs = [...new URLSearchParams(query)].sort(([a], [b]) => (a < b ? -1 : 1));
  const names = new Set(pairs.map(([name]) => name));
  if (names.size < pairs.length) throw new TypeError("a parameter is there twice");
  for (const [name, value] of pairs) {
    if (!/^[A-Za-z]+$/.test(name) || !/^[\w.,-]*$/.test(value)) throw new TypeError(`cannot sign ${name}`);
  }
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}

/** The same for an hour, so that browsers find the picture in their caches. */
function nextWindow(seconds = 3600) {
  return (Math.floor(Date.now() / 1000 / seconds) + 2) * seconds;
}

async function hmac(secret, message) {
  const bytes = Uint8Array.from(atob(secret.replaceAll("-", "+").replaceAll("_", "/")), (byte) => byte.charCodeAt(0));
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(message));
  return btoa(String.fromCharCode(...new Uint8Array(signature)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
