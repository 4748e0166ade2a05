/** Choices that this browser remembers for the page; until it is closed where the browser keeps nothing for us. */

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
