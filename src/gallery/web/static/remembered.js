/** Choices kept in the browser's storage; without storage, in memory until the page is closed. */

const memory = new Map();

export function isSet(name) {
  return storage()?.getItem(name) === "yes" || memory.has(name);
}

export function set(name, is) {
  if (is) memory.set(name, true);
  else memory.delete(name);
  if (is) storage()?.setItem(name, "yes");
  else storage()?.removeItem(name);
}

/** Reading the name alone throws where a visitor has blocked storage. */
function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
