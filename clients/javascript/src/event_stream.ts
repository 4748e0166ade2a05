/** Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */

import type { EventType, GalleryEvent } from "./types.js";

const LINE_END = /\r\n|\n|\r(?!$)/; // of a \r at the end, the \n may still come

/** The events of one stream after another. */
export class EventStream {
  /** What the next stream goes on after. */
  lastEventId: string | undefined;
  /** The pause before it. */
  retryMs = 3000;
  #decoder = new TextDecoder();
  #rest = "";
  #id: string | undefined;
  #type = "";
  #data: string[] = [];

  constructor(lastEventId: string | undefined) {
    this.lastEventId = lastEventId;
    this.begin();
  }

  /** A new connection: what was incomplete comes again. */
  begin(): void {
    this.#decoder = new TextDecoder();
    this.#rest = "";
    this.#id = this.lastEventId;
    this.#type = "";
    this.#data = [];
  }

  /** The events that end in this block. */
  *feed(block: Uint8Array): Generator<GalleryEvent, void, undefined> {
    const lines = (this.#rest + this.#decoder.decode(block, { stream: true })).split(LINE_END);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const event = line ? this.#field(line) : this.#end();
      if (event) yield event;
    }
  }

  #field(line: string): void {
    const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
  }

  /** Only at its end an event counts, and so does its id. */
  #end(): GalleryEvent | undefined {
    this.lastEventId = this.#id;
    const type = this.#type as EventType;
    const data = this.#data.join("\n");
    this.#type = "";
    this.#data = [];
    return data ? { ...JSON.parse(data), id: this.#id ?? "", type } : undefined;
  }
}
