/** Files that are dropped, pasted or chosen, alone or in folders; of a folder only the pictures are taken. */

const PICTURES = /^[^.].*\.(jpe?g|jfif|png|gif|webp|avif|heic|heif)$/i;
const HIDDEN = /^\./;
const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

/**
 * @typedef {object} Found
 * @property {File[]} files
 * @property {string[]} folders their names
 * @property {number} leftOut files in folders that are not pictures, or could not be read
 */

/**
 * Files may be dropped and pasted anywhere on the page, and chosen with each `input`.
 *
 * @param {(found: Found) => void} take
 */
export function receive(take) {
  dropped(take);
  document.querySelector("button.folder").onclick = () => document.getElementById("folder").click();
  addEventListener("paste", ({ clipboardData: { files } }) => files.length > 0 && take(alone([...files].map(named))));
  for (const input of document.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      take(input.webkitdirectory ? chosen([...input.files]) : alone([...input.files]));
      input.value = "";
    });
  }
}

function dropped(take) {
  const body = document.body;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let leaving = 0;
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    clearTimeout(leaving);
    body.classList.add("dropping");
    leaving = setTimeout(() => body.classList.remove("dropping"), 300); // dragover comes again and again until then
  });
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    body.classList.remove("dropping");
    take(await opened(event.dataTransfer));
  });
}

const alone = (files) => ({ files, folders: [], leftOut: 0 });

/** All files of a folder that was chosen with an `input`. */
function chosen(all) {
  const visible = all.filter(({ name }) => !HIDDEN.test(name)).sort((a, b) => inOrder(path(a), path(b)));
  const files = visible.filter(({ name }) => PICTURES.test(name));
  return { files, folders: [...new Set(all.map((file) => path(file).split("/")[0]))], leftOut: visible.length - files.length };
}

const path = (file) => file.webkitRelativePath;

/** Entries must be read before the first `await`: afterwards the drop event has no data. */
async function opened(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folders = entries.filter(({ isDirectory }) => isDirectory);
  if (folders.length === 0) return alone([...transfer.files]);
  const found = { files: [], folders: folders.map(({ name }) => name), leftOut: 0 };
  for (const entry of entries.filter(({ isFile }) => isFile)) await keep(entry, found);
  for (const folder of folders) await walk(folder, found);
  return found;
}

async function walk(folder, found) {
  for (const entry of (await children(folder, found)).sort((a, b) => inOrder(a.name, b.name))) {
    if (HIDDEN.test(entry.name)) continue;
    if (entry.isDirectory) await walk(entry, found);
    else if (PICTURES.test(entry.name)) await keep(entry, found);
    else found.leftOut += 1;
  }
}

/** @returns {Promise<FileSystemEntry[]>} A reader returns some entries per call, and none at the end. */
async function children(folder, found) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve(null)));
    if (some === null) found.leftOut += 1; // it cannot be read
    if (!some?.length) return all;
    all.push(...some);
  }
}

async function keep(entry, found) {
  const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
  if (file) found.files.push(file);
  else found.leftOut += 1;
}

/** A name for a pasted picture, which browsers call image.png. */
function named(file) {
  const moment = new Date().toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return new File([file], file.name.replace(/^image(?=\.\w+$)/, `Pasted ${moment.replace(/[:/\\]/g, ".")}`), { type: file.type });
}
