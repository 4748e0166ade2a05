/** The notifications, followed for as long as the page lives. */

import { refusal } from "./api.js";
import { Backoff } from "./backoff.js";

const STREAM = "/api/v1/notifications/stream";
const TYPES = ["uploaded", "processing", "ready", "failed", "updated", "deleted"];

/**
 * The browser reconnects by itself with the last id that it has seen, so that nothing is missed. Where the answer is an
 * error status it gives up; then we ask for the reason, and open a new stream with that id when the server says so.
 *
 * @param {object} on
 * @param {(type: string, news: object) => void} on.news
 * @param {() => void} on.fresh what came before is not known: the list has to be read
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
      stream.addEventListener(`image.${type}`, (event) => on.news(type, JSON.parse(remember(event).data)));
    }
    stream.addEventListener("reset", (event) => remember(event) && on.fresh());
  };
  open();
}
