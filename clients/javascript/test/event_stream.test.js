// The reader of server-sent events.
import assert from "node:assert/strict";
import { it } from "node:test";
import { EventStream } from "../dist/event_stream.js";

const STREAM = new TextEncoder().encode(
  "\uFEFFretry: 1500\nid: 6\n\n: heartbeat\n\n" +
    'id: 7\r\nevent: image.ready\r\ndata: {"imageId":"a",\r\ndata:"status":"READY","version":3,"more":1}\r\n\r\n' +
    'id: 8\revent: image.updated\rdata: {"imageId":"a","title":"\u2028\u0085é🙂"}\r\r' +
    'id: 9\nevent: reset\ndata: {"head":"9"}\n\nid: 1\0\nretry: soon\nevent\ndata\n\n' +
    'id: 10\nevent: image.failed\ndata: {"imageId":"b"}\n',
);

function* read(stream, bytes, size) {
  for (let start = 0; start < bytes.length; start += size) yield* stream.feed(bytes.subarray(start, start + size));
}

for (const size of [1, 2, 3, 7, 1000]) {
  it(`finds the same events in blocks of ${size} bytes`, () => {
    const stream = new EventStream(undefined);
    const events = [...read(stream, STREAM, size)];
    assert.deepEqual(events, [
      { id: "7", type: "image.ready", imageId: "a", status: "READY", version: 3, more: 1 },
      { id: "8", type: "image.updated", imageId: "a", title: "\u2028\u0085é🙂" },
      { id: "9", type: "reset", head: "9" },
    ]);
    assert.equal(stream.retryMs, 1500);
    assert.equal(stream.lastEventId, "9", "the event that did not end comes again");
    stream.begin();
    assert.deepEqual([...read(stream, new TextEncoder().encode("data: {}\n\n"), 1000)], [{ id: "9", type: "" }]);
  });
}
