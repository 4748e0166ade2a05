/**
 * Bull Board on Gallery's queue: http://127.0.0.1:3001.
 *
 * REDIS_URL is Gallery's own. HOST and PORT say where to listen; every client that reaches it may retry and remove jobs,
 * so leave it on loopback or put a proxy before it that authenticates, and that sends `Host: localhost`. The row is the
 * truth: a job is only a bell.
 */

import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { Queue } from "bullmq";
import express from "express";
import { Redis } from "ioredis";

import { loopbackOnly } from "./loopback.js";

const { REDIS_URL = "redis://127.0.0.1:6379/0", HOST = "127.0.0.1", PORT = "3001" } = process.env;
const { QUEUE = "image-processing", QUEUE_PREFIX = "bull" } = process.env; // as in src/gallery/jobs/queue.py

const connection = new Redis(REDIS_URL, { connectTimeout: 5000 });
const queue = new Queue(QUEUE, { connection, prefix: QUEUE_PREFIX, skipMetasUpdate: true });
connection.on("error", () => {}); // the queue reports it too
queue.on("error", (error) => console.error(error.message)); // it reconnects until Valkey is back

const board = new ExpressAdapter();
createBullBoard({
  queues: [new BullMQAdapter(queue, { description: "Jobs for images; Gallery's own page is /admin/queues" })],
  serverAdapter: board,
  options: { uiConfig: { boardTitle: "Gallery" } },
});

const app = express();
app.disable("x-powered-by");
app.use(loopbackOnly);
app.use("/", board.getRouter());
const server = app.listen(Number(PORT), HOST, (error) => {
  if (error) throw error;
  console.log(`Bull Board is at http://${HOST}:${PORT}`);
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    server.close();
    server.closeAllConnections();
    queue.close().finally(() => connection.disconnect());
  });
}
