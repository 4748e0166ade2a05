// What several tests need: photos that are new, tokens, and peers that misbehave.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { createGallery } from "gallery-client";

/** The URL of a Gallery with a worker, open to all. */
export const OPEN_URL = process.env.GALLERY_URL;
/** The URL of one that takes tokens of `makeToken` alone. */
export const CLOSED_URL = process.env.CLOSED_URL;

/** A photo that has not been uploaded before. */
export function newPhoto(name = "lake.jpg") {
  const photo = readFileSync(process.env.PHOTO);
  const comment = Buffer.concat([Buffer.from([0xff, 0xfe, 0, 14]), Buffer.from(randomBytes(6).toString("hex"))]);
  return new File([photo.subarray(0, 2), comment, photo.subarray(2)], name, { type: "image/jpeg" });
}

/** A JWT of Maya for so many seconds. */
export function makeToken(seconds = 600, scope = "images:read images:write") {
  const now = Math.floor((performance.timeOrigin + performance.now()) / 1000); // a test may set the clock
  const parts = [
    { alg: "HS256", typ: "JWT" },
    { sub: "maya", scope, iat: now, exp: now + seconds },
  ];
  const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${createHmac("sha256", process.env.JWT_SECRET).update(text).digest("base64url")}`;
}

/** A server in Gallery's place: `answer` gets each request, and the number of those before. Ends with the test. */
export async function peer(t, answer) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push({ method: request.method, url: request.url, headers: request.headers, at: Date.now() });
    request.resume();
    answer(response, requests.length - 1, request);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

/** Answers with JSON. */
export function send(response, status, body, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

/** Answers with a problem of this code. */
export function refuse(response, status, code, headers = {}) {
  const body = { type: `/api/errors#${code}`, title: "No", status, detail: "It is so.", code, requestId: "r1" };
  send(response, status, body, { "Content-Type": "application/problem+json", ...headers });
}

/**
 * A proxy before a server, by TCP. `breakAll` cuts its connections; while `deaf`, it takes connections and passes nothing on
 * from the server, and those that are open fall silent. `freeze` silences only these.
 */
export async function proxyTo(t, url) {
  const { hostname, port } = new URL(url);
  const open = new Set();
  const breakAll = () => {
    for (const socket of open) socket.destroy();
  };
  const frozen = new Set();
  const freeze = () => {
    for (const socket of open) frozen.add(socket);
  };
  const proxy = { url: "", deaf: false, connections: 0, breakAll, freeze };
  const server = createTcpServer((socket) => {
    const upstream = connect(Number(port), hostname);
    proxy.connections += 1;
    open.add(socket).add(upstream);
    for (const [from, to] of [
      [socket, upstream],
      [upstream, socket],
    ]) {
      from.on("data", (block) => (from === upstream && (proxy.deaf || frozen.has(from))) || to.write(block));
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    proxy.breakAll();
    server.close();
  });
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  return proxy;
}

/** The first `count` of an endless iteration, within a time. */
export async function take(items, count, seconds = 20) {
  const found = [];
  const late = setTimeout(() => items.return(), seconds * 1000);
  for await (const item of items) if (found.push(item) === count) break;
  clearTimeout(late);
  assert.equal(found.length, count, `within ${seconds} seconds there were only: ${JSON.stringify(found)}`);
  return found;
}

/** A promise, and the function that keeps it. */
export function promised() {
  let resolve;
  const promise = new Promise((keep) => {
    resolve = keep;
  });
  return { promise, resolve };
}

/** The error that a call throws. */
export async function errorOf(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  assert.fail("it did not throw");
}

export function openGallery(more = {}) {
  return createGallery({ url: OPEN_URL, ...more });
}
