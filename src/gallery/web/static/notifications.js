/** The stream of notifications, open for as long as the page is. */

import { refusal } from "./api.js";
import { Backoff } from "./backoff.js";

const STREAM = "/api/v1/notifications/stream";
const TYPES = ["uploaded", "processing", "ready", "failed", "updated", "deleted"];

/**
 * The browser reconnects by itself with the last id that it has received, so that no event is missed. After an error
 * status it stops; this function then reads the status, and opens a new stream with that id after the `Retry-After`.
 *
 * @param {object} on
 * @param {(type: string, event: object) => void} on.event
 * @param {() => void} on.fresh earlier events are missing: the list has to be read
 * @param {(connected: boolean) => void} on.connection
 * @param {() => void} on.signedOut the session has ended; the stream is not opened again
 */
export function follow(on) {
  const backoff = new Backoff();
  let lastId = null;
  const open = () => {
    const url = lastId === null ? STREAM : `${STREAM}?lastEventId=${encodeURIComponent(lastId)}`;
    const stream = new EventSource(url);
    const remember = (event) => {
      lastId = event.lastEventId || lastId;
      return event;
    };
    let first = lastId === null;
    stream.onopen = () => {
      backoff.reset();
      on.connection(true);
      if (first) on.fresh();
      first = false;
    };
    stream.onerror = async () => {
      on.connection(false);
      if (stream.readyState !== EventSource.CLOSED) return;
      const { status, retryAfter } = await refusal(url);
      if (status === 401) on.signedOut();
      else setTimeout(open, backoff.next(retryAfter));
    };
    for (const type of TYPES) {
      stream.addEventListener(`image.${type}`, (event) => on.event(type, JSON.parse(remember(event).data)));
    }
    stream.addEventListener("reset", (event) => remember(event) && on.fresh());
  };
  open();
}
