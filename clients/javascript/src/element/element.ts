import { createGallery } from "../index.js";
import type { Auth, Gallery, Image, UploadFields, Visibility } from "../types.js";
import { attributeName, reflect, split } from "./attributes.js";
import { type Connection, direct, later } from "./connection.js";
import { FormControl } from "./form_control.js";
import { Intake, type LeftOut } from "./intake.js";
import { type Messages, Texts } from "./messages.js";
import { styleSheet } from "./styles.js";
import type { GetTicket } from "./tickets.js";
import { type Entry, Uploads } from "./uploads.js";
import { View } from "./view.js";

const ATTRIBUTES = {
  url: String,
  ticketUrl: String,
  accept: String,
  capture: String,
  name: String,
  visibility: String,
  tags: Array,
  maxFiles: Number,
  concurrency: Number,
  multiple: Boolean,
  directory: Boolean,
  required: Boolean,
  disabled: Boolean,
};
const PROPERTIES = [...Object.keys(ATTRIBUTES), "gallery", "messages", "value"];

/** The detail of `gallery-uploaded` and `gallery-ready`; `gallery-failed` has an `error`, and no image if none was stored. */
export interface UploadDetail {
  file: File;
  image: Image | undefined;
  error: Error | undefined;
}

/** `<gallery-upload>`: its value is the ids of the uploaded images. */
export class GalleryUploadElement extends FormControl {
  static readonly observedAttributes = [...Object.keys(ATTRIBUTES).map(attributeName), "value"];
  static {
    reflect(GalleryUploadElement.prototype, ATTRIBUTES);
  }

  declare url: string;
  declare ticketUrl: string;
  declare accept: string;
  declare capture: string;
  declare name: string;
  declare visibility: Visibility | "";
  declare tags: string[];
  declare maxFiles: number;
  declare concurrency: number;
  declare multiple: boolean;
  declare directory: boolean;
  declare required: boolean;
  declare disabled: boolean;
  /** A token, or a function that brings one. */
  declare auth: Auth | undefined;
  /** Brings upload tickets, where a POST to `ticketUrl` will not do. */
  declare ticket: GetTicket | undefined;

  /** Whether it takes no files: by its own attribute, or by that of a `fieldset`. */
  isDisabled = false;
  readonly #uploads = new Uploads(
    () => this.#connect(),
    () => this.changed(),
  );
  readonly #intake = new Intake(this, {
    room: () => Math.max(0, this.#most - this.#uploads.entries.length),
    begins: () => this.changed(),
    take: (files) => this.#take(files),
    leftOut: (what) => this.#tellLeftOut(what),
    over: (over) => this.#view.over(over),
  });
  readonly #view: View;
  #gallery: Gallery | undefined;
  #texts = new Texts();
  #valueSet = false;
  #submitted = { name: "", ids: "" };

  constructor() {
    super();
    this.internals.role = "group";
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    root.adoptedStyleSheets = [styleSheet()];
    this.#view = new View(this, root, this.#uploads, (what) => this.#intake.choose(what));
    root.append(this.#intake.input);
  }

  // --- lifecycle -----------------------------------------------------------------------------------------------------

  connectedCallback(): void {
    for (const name of PROPERTIES) this.#takeOver(name);
    document.addEventListener("paste", this.#intake.paste);
    this.#uploads.goOn();
    this.changed();
  }

  /** Moved within the page, the element goes on; taken out of it, it waits until it is put in again. */
  disconnectedCallback(): void {
    document.removeEventListener("paste", this.#intake.paste);
    setTimeout(() => this.isConnected || this.#uploads.halt());
  }

  attributeChangedCallback(name: string, _before: string | null, text: string | null): void {
    if (name === "value" && !this.#valueSet) this.#setIds(split(text));
    if (name === "url" || name === "ticket-url") this.#uploads.reconnect();
    this.changed();
  }

  formDisabledCallback(disabled: boolean): void {
    this.isDisabled = disabled;
    this.changed();
  }

  formResetCallback(): void {
    this.#intake.stop();
    this.#uploads.clear();
    this.#view.notice("");
    this.#valueSet = false;
    this.#setIds(split(this.getAttribute("value")));
  }

  formStateRestoreCallback(state: string | File | FormData | null): void {
    if (typeof state === "string") this.value = split(state);
  }

  /** A property that a framework has set before the element was defined. */
  #takeOver(name: string): void {
    if (!Object.hasOwn(this, name)) return;
    const self = this as unknown as Record<string, unknown>;
    const value = self[name];
    delete self[name];
    self[name] = value;
  }

  // --- what pages use ------------------------------------------------------------------------------------------------

  /** The ids of the images that are stored. Set, it keeps the images with these ids, adds others, and removes the rest. */
  get value(): string[] {
    return this.#uploads.ids;
  }

  /** Frameworks also set what is meant as the attribute: ids separated by commas, or nothing. */
  set value(given: readonly string[] | string | null | undefined) {
    const ids = typeof given === "string" ? split(given) : [...(given ?? [])];
    this.#valueSet = true;
    if (String(ids) !== String(this.value)) this.#setIds(ids);
  }

  /** A client that is ready, instead of `url` and a credential. */
  get gallery(): Gallery | undefined {
    return this.#gallery;
  }

  set gallery(gallery: Gallery | undefined) {
    this.#gallery = gallery;
    this.#uploads.reconnect();
  }

  /** Other texts than the English ones: all of them, or some. */
  get messages(): Messages {
    return this.#texts.messages;
  }

  set messages(messages: Partial<Messages> | null | undefined) {
    this.#texts = new Texts(messages ?? {});
    this.changed();
  }

  /** Files and images of the list, as they are now. */
  get items(): readonly Entry[] {
    return this.#uploads.entries;
  }

  /** Uploads files as if they had been chosen. */
  addFiles(files: Iterable<File>): void {
    this.#intake.add([...files]);
  }

  pause(id?: string): void {
    this.#uploads.queue?.pause(id);
  }

  resume(id?: string): void {
    this.#uploads.queue?.resume(id);
  }

  retry(id?: string): void {
    this.#uploads.queue?.retry(id);
  }

  /** Takes a file or an image out of the list; in Gallery it stays. */
  removeItem(id: string): void {
    this.#uploads.remove(id);
  }

  /** Empties the list; uploads that are under way end. */
  clear(): void {
    this.#intake.stop();
    this.#uploads.clear();
    this.#view.notice("");
    this.changed(true);
  }

  // --- as a part of a form -------------------------------------------------------------------------------------------

  /** What keeps the form from being sent, or nothing. */
  #fault(): string {
    const { active, paused, failed } = this.#uploads.summary();
    const say = (key: "stillUploading" | "stillPaused" | "notUploaded", n: number) =>
      n ? this.#texts.say(key, { n }) : "";
    return (
      this.customFault ||
      say("stillUploading", active || this.#intake.reading) ||
      say("stillPaused", paused) ||
      say("notUploaded", failed)
    );
  }

  // --- inside --------------------------------------------------------------------------------------------------------

  /** Of a page's own script: events do not tell it what it does itself. */
  #setIds(ids: string[]): void {
    this.#uploads.ids = ids;
    this.changed(true);
  }

  /** What pages hear of comes last: a listener may look at the validity, or send the form. */
  protected override changed(byScript = false): void {
    const changes = this.#uploads.changes();
    const isChanged = this.#submit();
    const fault = this.#fault();
    const valueMissing = !fault && this.required && !this.value.length;
    const message = valueMissing ? this.#texts.say("required") : fault;
    this.internals.setValidity({ customError: !!fault, valueMissing }, message, this.#view.choose);
    this.internals.ariaLabel = this.internals.labels.length ? null : this.#texts.messages.label;
    this.#view.texts = this.#texts;
    this.#view.draw();
    for (const { type, entry } of changes) {
      const { file, image, error } = entry;
      const detail = { file, image, error };
      this.dispatchEvent(new CustomEvent(`gallery-${type}`, { bubbles: true, composed: true, detail }));
    }
    if (!isChanged || byScript) return;
    for (const type of ["input", "change"]) this.dispatchEvent(new Event(type, { bubbles: true, composed: true }));
  }

  /** One entry of the form for each image; nothing without a name, as of any field. Returns whether the images are others. */
  #submit(): boolean {
    const { name, value } = this;
    const ids = String(value);
    if (ids === this.#submitted.ids && name === this.#submitted.name) return false;
    const isChanged = ids !== this.#submitted.ids;
    this.#submitted = { name, ids };
    const entries = new FormData();
    if (name) for (const id of value) entries.append(name, id);
    this.internals.setFormValue(entries, ids);
    return isChanged;
  }

  get #most(): number {
    return this.multiple ? this.maxFiles || Number.POSITIVE_INFINITY : 1;
  }

  #tellLeftOut({ notPhotos, unreadable, tooMany }: LeftOut): void {
    const say = (key: "notPhotos" | "unreadable" | "tooMany", n: number) => (n ? this.#texts.say(key, { n }) : []);
    const most = tooMany ? this.#most : 0;
    const sentences = [say("notPhotos", notPhotos), say("unreadable", unreadable), say("tooMany", most)];
    this.#view.notice(sentences.flat().join(" "));
    this.changed();
  }

  #take(files: File[]): void {
    if (!this.multiple) this.#uploads.clear();
    const { tags, visibility } = this;
    const fields: UploadFields = { ...(tags.length && { tags }), ...(visibility && { visibility }) };
    this.#uploads.add(files, fields, this.concurrency);
    this.changed();
  }

  #connect(): Connection {
    if (this.#gallery) return direct(this.#gallery);
    const url = this.url || "/";
    const auth = () => (typeof this.auth === "function" ? this.auth() : this.auth);
    const gallery = createGallery({ url, auth });
    const { ticketUrl, ticket } = this;
    if (!ticket && !ticketUrl) return direct(gallery);
    const waiting = () => this.#uploads.summary().active;
    let connection: Promise<Connection> | undefined;
    const load = async () => {
      const { byTickets, postForTicket } = await import("./tickets.js");
      return byTickets(url, ticket ?? (({ files }) => postForTicket(ticketUrl, files)), waiting);
    };
    return later(gallery, () => {
      connection ??= load().catch((error) => {
        connection = undefined; // the next try loads it again
        throw Object.assign(error, { code: "unavailable" });
      });
      return connection;
    });
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "gallery-upload": GalleryUploadElement;
  }
  interface HTMLElementEventMap {
    "gallery-uploaded": CustomEvent<UploadDetail>;
    "gallery-ready": CustomEvent<UploadDetail>;
    "gallery-failed": CustomEvent<UploadDetail>;
  }
}
