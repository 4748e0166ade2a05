/** The wall of photos: one tile for each image or upload, newest first, in whichever order events arrive. */

import { Tile } from "./tile.js";

/** @typedef {import("./api.js").Image} Image */

const POINTED = 1500; // ms

export class Wall extends EventTarget {
  /**
   * Dispatches `change` and `remove` (detail: the image's id).
   *
   * @param {HTMLElement} list
   * @param {HTMLTemplateElement} template
   */
  constructor(list, template) {
    super();
    this.list = list;
    this.template = template;
    /** @type {Map<string, Tile>} */
    this.tiles = new Map();
    this.gone = new Set(); // ids of removed images, which an old response must not bring back
  }

  /** A tile for a file that is not yet uploaded; such tiles come first. @param {File | import("./unfinished.js").Entry} file */
  begin(file) {
    const tile = new Tile(this.template);
    tile.preview(file);
    this.list.prepend(tile.element);
    return tile;
  }

  /** The upload has become an image: its tile is now the image's, unless the image has a tile already. */
  adopt(tile, image) {
    const known = this.tiles.get(image.id);
    if (known && known.image.status !== "READY") known.takePreview(tile);
    if (known || this.gone.has(image.id)) tile.element.remove();
    else {
      tile.element.dataset.id = image.id;
      this.tiles.set(image.id, tile);
    }
    this.put(image);
  }

  /** Show the image as it is now; an older version than the one shown changes nothing. */
  put(image) {
    if (this.gone.has(image.id)) return;
    const tile = this.tiles.get(image.id) ?? this.#hang(image.id);
    if (tile.image && tile.image.version >= image.version) return;
    tile.show(image);
    this.#place(tile);
    this.#tell("change", image.id);
  }

  remove(id) {
    this.gone.add(id);
    this.#take(id);
  }

  /** Remove images that a complete list does not have; `asked` are the ids shown when it was requested. */
  keepOnly(images, asked) {
    const there = new Set(images.map(({ id }) => id));
    for (const id of asked) if (!there.has(id)) this.#take(id);
  }

  /** @returns {?Image} */
  find(id) {
    return this.tiles.get(id)?.image ?? null;
  }

  get ids() {
    return [...this.tiles.keys()];
  }

  get empty() {
    return this.list.childElementCount === 0;
  }

  /** Whether the image belongs after all shown images. */
  isBeyond(image) {
    const last = this.list.lastElementChild;
    const shown = last && this.tiles.get(last.dataset.id)?.image;
    return !shown || isNewer(shown, image);
  }

  /** The nearest READY image, `step` being 1 (older) or -1 (newer). @returns {?Image} */
  beside(id, step) {
    let element = this.tiles.get(id)?.element;
    while (element) {
      element = step > 0 ? element.nextElementSibling : element.previousElementSibling;
      const image = element && this.find(element.dataset.id);
      if (image?.status === "READY") return image;
    }
    return null;
  }

  focus(id) {
    this.tiles.get(id)?.button.focus();
  }

  /** Highlight images, and scroll to the first of them. */
  point(ids) {
    this.pointAt(ids.map((id) => this.tiles.get(id)?.element).filter(Boolean));
  }

  /** @param {HTMLElement[]} elements of tiles */
  pointAt(elements) {
    const [first] = elements.filter(({ isConnected }) => isConnected).sort(inDocument);
    first?.scrollIntoView({ block: "center" });
    first?.querySelector(".open").focus({ preventScroll: true });
    for (const element of elements) {
      element.classList.add("pointed");
      setTimeout(() => element.classList.remove("pointed"), POINTED);
    }
  }

  #hang(id) {
    const tile = new Tile(this.template);
    tile.element.dataset.id = id;
    this.tiles.set(id, tile);
    return tile;
  }

  #take(id) {
    const tile = this.tiles.get(id);
    if (!tile) return;
    this.tiles.delete(id);
    tile.remove();
    this.#tell("remove", id);
  }

  /** Searches from the end, where most images of a list belong. */
  #place(tile) {
    let after = this.list.lastElementChild;
    while (after && (after === tile.element || this.#isNewer(tile, after))) after = after.previousElementSibling;
    const before = after ? after.nextElementSibling : this.list.firstElementChild;
    if (before !== tile.element || !tile.element.isConnected) this.list.insertBefore(tile.element, before);
  }

  #isNewer(tile, element) {
    const other = this.tiles.get(element.dataset.id)?.image;
    return Boolean(other) && isNewer(tile.image, other);
  }

  #tell(name, id) {
    this.dispatchEvent(new CustomEvent(name, { detail: id }));
  }
}

const inDocument = (one, other) => (one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1);

/** The order of the list: by `createdAt`, then by the id. Without its Z, a time sorts as text. */
function isNewer(one, other) {
  const [a, b] = [one.createdAt.replace("Z", ""), other.createdAt.replace("Z", "")];
  return a === b ? one.id > other.id : a > b;
}
