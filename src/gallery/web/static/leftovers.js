/** Tiles of uploads that an earlier page has left unfinished: each goes on as soon as its file is chosen or dropped again. */

import { ask } from "./api.js";
import { counted } from "./facts.js";
import { abandoned, forget, matches } from "./unfinished.js";

/** @typedef {import("./unfinished.js").Entry} Entry */
/** @typedef {import("./tile.js").Tile} Tile */

const KEY = "unfinished"; // of the message

export class Leftovers {
  /**
   * @param {import("./wall.js").Wall} wall
   * @param {import("./messages.js").Messages} messages
   * @param {(file: File) => void} onChosen
   */
  constructor(wall, messages, onChosen) {
    this.wall = wall;
    this.messages = messages;
    this.onChosen = onChosen;
    /** @type {Map<Entry, Tile>} */
    this.tiles = new Map();
  }

  async show() {
    for (const entry of await abandoned()) await this.#check(entry);
    if (this.tiles.size === 0) return;
    const text = counted(this.tiles.size, "upload waits for its file.", "uploads wait for their files.");
    const run = () => document.querySelector(".bar input[type=file]").click();
    this.messages.show(text, { key: KEY, action: { label: "Choose files", run } });
  }

  /** The upload of this file, which the caller continues with its tile. @param {File} file @returns {?{entry: Entry, tile: Tile}} */
  take(file) {
    const found = [...this.tiles].find(([entry]) => matches(entry, file));
    if (!found) return null;
    const [entry, tile] = found;
    this.#remove(entry);
    return { entry, tile };
  }

  async #check(entry) {
    let state = null;
    try {
      state = await (await ask("GET", entry.url)).json();
    } catch (problem) {
      if (!problem.passing && problem.status < 500) {
        forget(entry.url);
        if (problem.status !== 404) this.messages.show(`${entry.name}: ${problem.message}`, { trouble: true });
        return;
      }
    }
    if (state?.image) forget(entry.url);
    else this.#hang(entry, state && state.received / state.size);
  }

  #hang(entry, part) {
    const tile = this.wall.begin(entry);
    tile.unfinished(part, () => this.#choose(entry), () => this.#forget(entry));
    this.tiles.set(entry, tile);
  }

  #choose(entry) {
    const input = Object.assign(document.createElement("input"), { type: "file", accept: "image/*,.heic,.heif,.avif" });
    input.onchange = () => {
      const [file] = input.files;
      if (matches(entry, file)) this.onChosen(file);
      else this.messages.show(`${file.name} is not the file whose upload has begun.`, { trouble: true });
    };
    input.click();
  }

  async #forget(entry) {
    const tile = this.tiles.get(entry);
    this.#remove(entry);
    tile.remove();
    forget(entry.url);
    this.messages.say(`The upload of ${entry.name} is forgotten.`);
    await ask("DELETE", entry.url).catch(() => {}); // without an answer, the server forgets it after a day
  }

  #remove(entry) {
    this.tiles.delete(entry);
    if (this.tiles.size === 0) this.messages.close(KEY);
  }
}
