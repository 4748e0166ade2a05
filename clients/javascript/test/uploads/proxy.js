/** A proxy before Gallery that breaks connections and answers in Gallery's place, as networks do. */

import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const REQUEST = /^(GET|POST|PATCH|DELETE) \/\S+/;

export function canned(status, body = "", headers = {}) {
  const lines = [`HTTP/1.1 ${status} X`, `Content-Length: ${body.length}`, "Connection: close"];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  return `${lines.join("\r\n")}\r\n\r\n${body}`;
}

export class NetworkProxy {
  /** Bytes after which the next connections are broken, one after the other. */
  cuts = [];
  /** For requests that match, instead of Gallery's answers: `[pattern, answer]`, each once. */
  answers = [];
  /** The next answers to requests that match are lost with their connections. */
  lost = [];
  /** `[from, to]`: texts in requests that become others. */
  damage = null;
  /** Requests with longer bodies never arrive: their connections break before they are whole. */
  longest = Number.POSITIVE_INFINITY;
  /** Milliseconds that each block of a request waits. */
  delay = 0;
  requests = [];
  sent = 0;
  #sockets = new Set();
  #server = net.createServer((socket) => this.#serve(socket));

  static async before(url) {
    const proxy = new NetworkProxy();
    proxy.target = new URL(url);
    await new Promise((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  count(pattern) {
    return this.requests.filter((request) => pattern.test(request)).length;
  }

  breakAll() {
    for (const socket of this.#sockets) socket.destroy();
  }

  close() {
    this.breakAll();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket) {
    const back = net.connect(Number(this.target.port), this.target.hostname);
    const connection = { socket, back, sent: 0, isLost: false };
    for (const one of [socket, back]) {
      this.#sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        this.#sockets.delete(one);
        socket.destroy();
        back.destroy();
      });
    }
    socket.on("data", async (block) => {
      socket.pause();
      await this.#send(connection, block);
      socket.resume();
    });
    back.on("data", (block) => {
      if (connection.isLost) socket.destroy();
      else if (!socket.write(block)) back.pause();
    });
    socket.on("drain", () => back.resume());
  }

  async #send(connection, block) {
    const { socket, back } = connection;
    const request = REQUEST.exec(block.subarray(0, 200).toString("latin1"))?.[0];
    if (request) {
      this.requests.push(request);
      if (lengthOf(block) > this.longest) return socket.destroy();
      const found = this.answers.findIndex(([pattern]) => pattern.test(request));
      if (found >= 0) return this.#answer(socket, this.answers.splice(found, 1)[0][1], block);
      const lost = this.lost.findIndex((pattern) => pattern.test(request));
      connection.isLost = lost >= 0;
      if (lost >= 0) this.lost.splice(lost, 1);
    }
    if (this.delay) await sleep(this.delay);
    let passed = block;
    if (this.damage && block.includes(this.damage[0])) {
      const at = block.indexOf(this.damage[0]);
      passed = Buffer.concat([
        block.subarray(0, at),
        Buffer.from(this.damage[1]),
        block.subarray(at + this.damage[0].length),
      ]);
    }
    this.sent += passed.length;
    connection.sent += passed.length;
    if (!back.write(passed)) await new Promise((resolve) => back.once("drain", resolve).once("close", resolve));
    if (this.cuts.length && connection.sent > this.cuts[0]) {
      this.cuts.shift();
      await sleep(100); // what was sent arrives
      socket.destroy();
    }
  }

  /** After the whole request, so that the client reads the answer. */
  async #answer(socket, answer, block) {
    const head = block.toString("latin1").split("\r\n\r\n")[0];
    let left = lengthOf(block) - (block.length - head.length - 4);
    socket.removeAllListeners("data");
    if (left <= 0) return socket.end(answer);
    socket.on("data", (more) => {
      left -= more.length;
      if (left <= 0) socket.end(answer);
    });
    socket.resume();
  }
}

/** Bytes of the body, as the head of the request says. */
function lengthOf(block) {
  const head = block.toString("latin1").split("\r\n\r\n")[0];
  return Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
}
