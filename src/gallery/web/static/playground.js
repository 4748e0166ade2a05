/** Tries out pictures on demand: the parameters as controls, the picture as it comes, and its address to copy. */

import * as api from "./api.js";
import { write } from "./copying.js";

/** @typedef {import("./api.js").Image} Image */

const PAUSE_MS = 300; // after the last change, before the picture is asked for
const DENSITIES = [1, 2, 3]; // of a srcset
const BESIDE_PRESET = ["preset", "dpr", "format"]; // the controls that count beside a preset

export class Playground {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {import("./messages.js").Messages} messages
   */
  constructor(dialog, messages) {
    this.dialog = dialog;
    this.messages = messages;
    this.part = (selector) => dialog.querySelector(selector);
    this.form = this.part("form");
    this.preview = this.part("img");
    this.form.addEventListener("input", () => this.#changed());
    this.form.addEventListener("reset", () => setTimeout(() => this.#changed()));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of dialog.querySelectorAll("[data-copy]")) button.onclick = () => this.#copy(button.dataset.copy);
    this.part(".close").onclick = () => dialog.close();
    dialog.addEventListener("close", () => this.#stop());
  }

  /** @param {Image} image */
  async open(image) {
    this.image = image;
    this.part("h2").textContent = image.title;
    this.preview.alt = image.alt || image.title;
    this.dialog.showModal();
    this.#changed(0);
    await this.#listPresets();
  }

  async #listPresets() {
    const list = this.form.elements.preset;
    if (list.length > 1) return;
    const presets = await api.presets().catch(() => []);
    list.append(...presets.map(({ name, query }) => Object.assign(new Option(name, name), { title: query })));
    list.closest("label").hidden = presets.length === 0;
  }

  #changed(pause = PAUSE_MS) {
    clearTimeout(this.timer);
    const { preset, fit } = this.form.elements;
    for (const control of this.form.elements) {
      if (control.name && !BESIDE_PRESET.includes(control.name)) control.disabled = Boolean(preset.value);
    }
    if (!preset.value) this.form.elements.focus.disabled = fit.value !== "cover";
    this.timer = setTimeout(() => this.#load(), pause);
  }

  /** What the controls say, without those that are empty. */
  #query(changes = {}) {
    const given = { ...Object.fromEntries(new FormData(this.form)), ...changes };
    if (given.bg) given.bg = given.bg.replace("#", "");
    if (!this.form.elements.padded.checked) delete given.bg;
    delete given.padded;
    return new URLSearchParams(Object.entries(given).filter(([, value]) => value !== "")).toString().replaceAll("%2C", ",");
  }

  #url(changes) {
    const query = this.#query(changes);
    return new URL(api.picture(this.image.id, query), location.href).href;
  }

  async #load() {
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    this.dialog.setAttribute("aria-busy", "true");
    try {
      const began = performance.now();
      const blob = await api.pictureFile(this.#url(), signal);
      const took = Math.round(performance.now() - began);
      this.#show(blob, (sides) => `${sides} px · ${blob.type.replace("image/", "").toUpperCase()} · ${kilobytes(blob.size)} · ${took} ms`);
      this.part(".trouble").textContent = "";
    } catch (problem) {
      if (signal.aborted) return;
      this.part(".trouble").textContent = problem.message;
    }
    this.dialog.removeAttribute("aria-busy");
  }

  #show(blob, sentence) {
    URL.revokeObjectURL(this.preview.src);
    this.preview.onload = () => {
      this.part(".result").textContent = sentence(`${this.preview.naturalWidth} × ${this.preview.naturalHeight}`);
    };
    this.preview.src = URL.createObjectURL(blob);
  }

  async #copy(form) {
    this.messages.show(await write(this.#texts()[form], "It is copied."));
  }

  #texts() {
    const alt = escaped(this.image.alt || this.image.title);
    const srcset = DENSITIES.map((dpr) => `${this.#url({ dpr })} ${dpr}x`).join(", ");
    const { naturalWidth: width, naturalHeight: height } = this.preview;
    return {
      url: this.#url(),
      html: `<img src="${escaped(this.#url())}" srcset="${escaped(srcset)}" width="${width}" height="${height}" alt="${alt}" loading="lazy">`,
      markdown: `![${(this.image.alt || this.image.title).replace(/[[\]\\]/g, "\\$&")}](${this.#url()})`,
    };
  }

  #stop() {
    clearTimeout(this.timer);
    this.loading?.abort();
    URL.revokeObjectURL(this.preview.src);
    this.preview.removeAttribute("src");
    this.part(".result").textContent = "";
  }
}

const kilobytes = (bytes) => `${(bytes / 1000).toLocaleString(undefined, { maximumFractionDigits: bytes < 100_000 ? 1 : 0 })} kB`;

const escaped = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
