/**
 * Uploads that have begun, remembered so that they go on after a reload of the page, once their files are chosen again. An
 * upload of another caller is unknown to the server (404), and begins anew.
 */

import { sha256 } from "./sha256.js";
import type { ResumeStorage } from "./types.js";

const PREFIX = "gallery-upload:";
const SAMPLE = 64 * 1024; // bytes at the file's beginning and at its end
const DAY_MS = 86_400_000; // for which a server keeps an upload that does not move

/**
 * What tells a file's upload from others, in hexadecimal digits: the file's name, size, time and type, samples of its bytes,
 * and `context`, a JSON value.
 */
export function fingerprint(file: Blob, context: unknown): Promise<string> {
  const facts = JSON.stringify([context, file.size, file.type, (file as Partial<File>).lastModified]);
  return sha256(new Blob([facts, file.slice(0, SAMPLE), file.slice(-SAMPLE)]));
}

/** The path of one upload in the storage, until it expires. */
export interface ResumeEntry {
  read(): string | undefined;
  /** `expires` is a date as headers have it. Entries that have expired go. */
  write(path: string, expires: string | null): void;
  /** Unless the entry is that of another upload by now. */
  delete(path: string): void;
}

/** A storage that is full or forbidden is as good as none. */
export function resumeEntry(storage: ResumeStorage | null, fingerprint: string): ResumeEntry {
  const own = PREFIX + fingerprint;
  const read = (name = own) => attempt(() => parse(storage?.getItem(name)));
  const remove = (name: string) => attempt(() => storage?.removeItem(name));
  return {
    read,
    write(path, expires) {
      attempt(() => storage?.setItem(own, `${Date.parse(expires ?? "") || Date.now() + DAY_MS} ${path}`));
      for (const name of Object.keys(storage ?? {})) if (name.startsWith(PREFIX) && !read(name)) remove(name);
    },
    delete: (path) => {
      if (read() === path) remove(own);
    },
  };
}

function parse(text: string | null | undefined): string | undefined {
  const [until, path] = (text ?? "").split(" ");
  return Number(until) > Date.now() ? path : undefined;
}

function attempt<T>(access: () => T): T | undefined {
  try {
    return access();
  } catch {
    return undefined;
  }
}
