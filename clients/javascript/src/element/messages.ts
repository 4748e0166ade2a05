/** Texts, with `{name}` where a value goes; a plural has one text for each category of `Intl.PluralRules`. */
export type Plural = { other: string } & Partial<Record<Intl.LDMLPluralRule, string>>;

export interface Messages {
  /** The language of the texts, for plurals and numbers: `en` */
  locale: string;
  label: string;
  drop: Plural;
  choose: Plural;
  chooseAnother: string;
  chooseFolder: string;
  takePhoto: string;
  paste: string;
  atMost: Plural;
  waiting: string;
  uploading: string;
  paused: string;
  processing: string;
  ready: string;
  duplicate: string;
  photo: string;
  pause: string;
  resume: string;
  retry: string;
  remove: string;
  progress: string;
  progressAll: string;
  pauseAll: string;
  resumeAll: string;
  retryAll: string;
  summary: Plural;
  failures: Plural;
  removed: string;
  notPhotos: Plural;
  unreadable: Plural;
  tooMany: Plural;
  required: string;
  stillUploading: Plural;
  stillPaused: Plural;
  notUploaded: Plural;
  /** By the `code` of an error, then `401`, `403`, `5xx`; else the error speaks for itself (`detail`). */
  errors: Record<string, string>;
}

export const english: Messages = {
  locale: "en",
  label: "Photos",
  drop: { one: "Drop a photo here", other: "Drop photos here" },
  choose: { one: "Choose a photo", other: "Choose photos" },
  chooseAnother: "Choose another photo",
  chooseFolder: "Choose a folder",
  takePhoto: "Take a photo",
  paste: "or paste from the clipboard",
  atMost: { one: "Up to {n} photo", other: "Up to {n} photos" },
  waiting: "Waiting",
  uploading: "{percent} of {size}",
  paused: "Paused",
  processing: "Uploaded, being prepared…",
  ready: "Uploaded",
  duplicate: "Uploaded before",
  photo: "Photo {n}",
  pause: "Pause {name}",
  resume: "Resume {name}",
  retry: "Try {name} again",
  remove: "Remove {name}",
  progress: "Upload of {name}",
  progressAll: "Upload of all photos",
  pauseAll: "Pause all",
  resumeAll: "Resume all",
  retryAll: "Retry failed",
  summary: { one: "{done} of {n} photo uploaded", other: "{done} of {n} photos uploaded" },
  failures: { other: "{n} failed" },
  removed: "{name} was removed.",
  notPhotos: {
    one: "{n} file is not a photo of an accepted type and was left out.",
    other: "{n} files are not photos of an accepted type and were left out.",
  },
  unreadable: { one: "{n} file could not be read.", other: "{n} files could not be read." },
  tooMany: {
    one: "Only {n} photo can be added; the rest was left out.",
    other: "Only {n} photos can be added; the rest was left out.",
  },
  required: "Please add a photo.",
  stillUploading: { one: "{n} photo is still uploading.", other: "{n} photos are still uploading." },
  stillPaused: {
    one: "{n} photo is paused: resume or remove it.",
    other: "{n} photos are paused: resume or remove them.",
  },
  notUploaded: {
    one: "{n} photo was not uploaded: try again or remove it.",
    other: "{n} photos were not uploaded: try again or remove them.",
  },
  errors: {
    unavailable: "No connection to the server. Check your network and try again.",
    401: "Your session has ended. Reload the page and try again.",
    403: "You may not upload photos here.",
    "5xx": "The server cannot take photos at the moment. Try again later.",
  },
};

type Key = Exclude<keyof Messages, "locale" | "errors">;

/** Messages with their values. */
export class Texts {
  readonly messages: Messages;
  readonly #rules: Intl.PluralRules;
  readonly #percent: Intl.NumberFormat;

  constructor(given: Partial<Messages> = {}) {
    this.messages = { ...english, ...given, errors: { ...english.errors, ...given.errors } };
    this.#rules = new Intl.PluralRules(this.messages.locale);
    this.#percent = new Intl.NumberFormat(this.messages.locale, { style: "percent" });
  }

  /** The text with its values; of a plural, that for the number `n`. */
  say(key: Key, values: Record<string, string | number> = {}): string {
    const message = this.messages[key];
    const text =
      typeof message === "string" ? message : (message[this.#rules.select(Number(values.n))] ?? message.other);
    return text.replace(/\{(\w+)\}/g, (all, name: string) =>
      (values[name] ?? all).toLocaleString(this.messages.locale),
    );
  }

  percent(part: number): string {
    return this.#percent.format(part);
  }

  /** Bytes as people read them: 3.1 MB. */
  size(bytes: number): string {
    const isLarge = bytes >= 1e6;
    return (bytes / (isLarge ? 1e6 : 1e3)).toLocaleString(this.messages.locale, {
      style: "unit",
      unit: isLarge ? "megabyte" : "kilobyte",
      maximumSignificantDigits: 2,
    });
  }

  /** What went wrong, for a person: by the error's code or status, else what the error says itself. */
  error(error: Error): string {
    const { code = "", status = 0, detail } = error as { code?: string; status?: number; detail?: string };
    const { errors } = this.messages;
    return errors[code] ?? errors[status >= 500 ? "5xx" : status] ?? detail ?? error.message;
  }
}
