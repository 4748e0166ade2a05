/** What the page keeps in the browser's storage; without storage, in memory until the page is closed. */

const memory = new Map();

export function isSet(name) {
  return storage()?.getItem(name) === "yes" || memory.has(name);
}

export function set(name, is) {
  store(name, is ? "yes" : null);
}

/** @param {string} name @param {?string} value null to forget it */
export function store(name, value) {
  if (value === null) memory.delete(name);
  else memory.set(name, value);
  if (value === null) storage()?.removeItem(name);
  else save(name, value);
}

/** @param {string} prefix @returns {Array<[string, string]>} stored names that begin with it, and their values */
export function list(prefix) {
  return Object.entries(storage() ?? {}).filter(([name]) => name.startsWith(prefix));
}

/** A full storage is as good as none. */
function save(name, value) {
  try {
    storage()?.setItem(name, value);
  } catch {
    return;
  }
}

/** Reading the name alone throws where a visitor has blocked storage. */
function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
