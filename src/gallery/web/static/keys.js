/** Keyboard shortcuts and their dialog, where shortcuts of a single character can be switched off. */

import { isSet, set } from "./remembered.js";

const OFF = "gallery.shortcuts.off";

/**
 * @param {HTMLDialogElement} help
 * @param {Object<string, () => void>} deeds by key
 */
export function shortcuts(help, deeds) {
  const allowed = help.querySelector("[name=shortcuts]");
  allowed.checked = !isSet(OFF);
  allowed.onchange = () => set(OFF, !allowed.checked);
  const all = { ...deeds, "?": () => help.showModal() };
  for (const button of document.querySelectorAll(".help")) button.onclick = all["?"];
  addEventListener("keydown", (event) => {
    if (!(event.key in all) || !allowed.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select") || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    all[event.key]();
  });
}
