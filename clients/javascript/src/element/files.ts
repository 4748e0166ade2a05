/** What of dropped, pasted and chosen things is a file of an accepted type. */

/** All types that Gallery takes; names for those that operating systems do not always know. */
export const PHOTOS = "image/jpeg,image/png,image/gif,image/webp,image/avif,image/heic,image/heif,.avif,.heic,.heif";

const BATCH = 100;

/** Whether a file is of a type in a list like that of `<input accept>`. */
export function accepts(accept: string, file: File): boolean {
  const name = file.name.toLowerCase();
  return accept.split(",").some((entry) => {
    const wanted = entry.trim().toLowerCase();
    if (wanted.startsWith(".")) return name.endsWith(wanted);
    return wanted.endsWith("/*") ? file.type.startsWith(wanted.slice(0, -1)) : file.type === wanted;
  });
}

/**
 * The files of a drop, those in its folders too, at most 100 at a time; `undefined` for one that cannot be read. Call it
 * while the event is handled: what is dropped is gone afterwards.
 */
export function dropped(transfer: DataTransfer): AsyncGenerator<(File | undefined)[]> {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  return read(items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()));
}

async function* read(found: (FileSystemEntry | File | null)[]): AsyncGenerator<(File | undefined)[]> {
  const folders: FileSystemDirectoryEntry[] = [];
  for (let at = 0; at < found.length; at += BATCH) {
    yield (await Promise.all(found.slice(at, at + BATCH).map((entry) => open(entry, folders)))).flat();
  }
  for (const folder of folders) {
    const reader = folder.createReader();
    for (let some = await list(reader); some.length; some = await list(reader)) yield* read(some.filter(isShown));
  }
}

async function open(
  entry: FileSystemEntry | File | null,
  folders: FileSystemDirectoryEntry[],
): Promise<(File | undefined)[]> {
  if (!entry || entry instanceof File) return [entry ?? undefined];
  if (entry.isDirectory) folders.push(entry as FileSystemDirectoryEntry);
  if (!entry.isFile) return [];
  return [
    await new Promise<File | undefined>((done) => (entry as FileSystemFileEntry).file(done, () => done(undefined))),
  ];
}

/** The next entries of a folder, none at its end or where it cannot be read. */
function list(reader: FileSystemDirectoryReader): Promise<FileSystemEntry[]> {
  return new Promise((done) => reader.readEntries(done, () => done([])));
}

function isShown(entry: FileSystemEntry): boolean {
  return !entry.name.startsWith(".");
}
