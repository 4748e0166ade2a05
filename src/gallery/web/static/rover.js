/** The wall by keyboard: one Tab stop, and arrow keys that move from tile to tile (a roving tabindex). */

const STEPS = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" };
const ROWS = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" };
const ENDS = { Home: "firstElementChild", End: "lastElementChild" };

export class Rover {
  /** @param {HTMLElement} list of tiles, each with a button `.open` and perhaps others */
  constructor(list) {
    this.list = list;
    this.current = null;
    this.goal = null; // px from the left, where moving up or down has begun
    this.inside = false;
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", ({ target }) => this.#enter(target.closest(".tile")));
    list.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget) this.inside = list.contains(relatedTarget);
    });
    document.addEventListener("pointerdown", ({ target }) => (this.inside = list.contains(target)));
    new MutationObserver((records) => this.#changed(records)).observe(list, { childList: true });
  }

  #key(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = tile[STEPS[event.key]] ?? this.list[ENDS[event.key]] ?? this.#beyond(tile, ROWS[event.key]);
    if (!next && !(event.key in STEPS) && !(event.key in ROWS)) return;
    event.preventDefault();
    if (!(event.key in ROWS)) this.goal = null;
    next?.querySelector(".open").focus();
  }

  /** The tile of the next row whose middle is nearest to `goal`. */
  #beyond(tile, sibling) {
    if (!sibling) return null;
    this.goal ??= middle(tile);
    let nearest = null;
    for (let other = tile[sibling]; other; other = other[sibling]) {
      if (other.offsetTop === tile.offsetTop) continue;
      if (nearest && other.offsetTop !== nearest.offsetTop) break;
      if (!nearest || Math.abs(middle(other) - this.goal) < Math.abs(middle(nearest) - this.goal)) nearest = other;
    }
    return nearest;
  }

  #enter(tile) {
    this.inside = true;
    if (tile === this.current) return;
    this.#reach(this.current, -1);
    this.current = tile;
    this.#reach(tile, 0);
  }

  /** A removed tile hands its tab stop to the next one, and the focus if it had it. */
  #changed(records) {
    if (this.current?.isConnected) return;
    const record = records.find(({ removedNodes }) => [...removedNodes].includes(this.current));
    const heir = [record?.nextSibling, record?.previousSibling].find((node) => node?.isConnected) ?? this.list.firstElementChild;
    this.current = heir ?? null;
    this.#reach(heir, 0);
    if (record && this.inside && document.activeElement === document.body) heir?.querySelector(".open").focus();
  }

  #reach(tile, index) {
    for (const button of tile?.querySelectorAll("button") ?? []) button.tabIndex = index;
  }
}

const middle = (tile) => tile.offsetLeft + tile.offsetWidth / 2;
