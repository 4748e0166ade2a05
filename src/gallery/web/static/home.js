/** The gallery's page: reads the list, follows the notifications, and updates the wall by both. */

import * as api from "./api.js";
import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { receive } from "./drop.js";
import { shortcuts } from "./keys.js";
import { Leftovers } from "./leftovers.js";
import { Messages } from "./messages.js";
import { Photos } from "./photos.js";
import { Rover } from "./rover.js";
import { askToSignIn } from "./signin.js";
import { follow } from "./notifications.js";
import { Uploads } from "./uploads.js";
import { Viewer } from "./viewer.js";
import { Wall } from "./wall.js";

const PAGE = 60;
const MAX_IMAGES = 200; // of one response
const BATCH_MS = 60; // to wait for more events, whose images are read by one request
const OPEN_TIMEOUT_MS = 2000; // for the stream to open; after it the list is read without the stream

const $ = (id) => document.getElementById(id);
const list = $("wall");
const messages = new Messages($("messages"));
const connection = new Connection($("connection"));
const wall = new Wall(list, $("tile"));
const viewer = new Viewer($("viewer"), $("sure"), wall, messages);
const leftovers = new Leftovers(wall, messages, (file) => uploads.add({ files: [file], folders: [], leftOut: 0 }));
const uploads = new Uploads(wall, messages, leftovers, Number(document.body.dataset.maxBytes), {
  waiting: (is) => connection.waits("uploads", is),
  show,
});
const photos = new Photos((is) => connection.waits("photos", is));
const backoff = new Backoff(); // of the list
const wanted = new Map(); // ids of images to read, each with the version of its event
let next = null; // the link to the next page
let failed = []; // ids of images that have failed while the page was open
let reading = null; // the promise of the page that is being read
let later = null; // the read to repeat after a refusal

if (document.body.dataset.signedout === undefined) start();
else askToSignIn();

function start() {
  new Rover(list);
  new MutationObserver(settle).observe(list, { childList: true });
  new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && more(), { rootMargin: "1200px" }).observe($("more"));
  list.addEventListener("click", clicked);
  list.addEventListener("keydown", (event) => event.key === "Delete" && clicked(event, ".delete"));
  $("more").addEventListener("click", more);
  photos.watch(list);
  photos.watch($("viewer"));
  receive((found) => uploads.add(found));
  shortcuts($("keys"), { u: () => document.querySelector(".bar input[type=file]").click() });
  addEventListener("beforeunload", (event) => uploads.sending && event.preventDefault());
  follow({ event: apply, fresh: reload, connection: (is) => connection.connected(is), signedOut: askToSignIn });
  setTimeout(() => isRead() || reading || later || reload(), OPEN_TIMEOUT_MS);
  if (document.body.hasAttribute("data-closed")) applyScopes();
}

/** In open mode the template allows everything. Errors are ignored here: reading the list shows them. */
async function applyScopes() {
  const { scopes } = await api.session().catch(() => ({ scopes: [] }));
  $("queues").hidden = !scopes.includes("admin");
  document.body.toggleAttribute("data-writes", scopes.includes("images:write") || scopes.includes("admin"));
}

/** Read the list from its beginning: at the start, and when the page has missed events. */
async function reload() {
  await reading;
  if (later) {
    later.read = reload;
    return;
  }
  const before = wall.ids;
  reading = read(() => api.page(Math.min(MAX_IMAGES, Math.max(PAGE, before.length))), reload, ({ images }) => {
    wall.keepOnly(images, before);
  });
  await reading;
  viewer.start();
}

async function more() {
  if (next === null || reading !== null || later !== null) return;
  const from = next;
  reading = read(() => api.page(PAGE, from), more, () => {});
  await reading;
  if ($("more").getBoundingClientRect().top < innerHeight + 1200) more();
}

async function read(ask, again, then) {
  list.setAttribute("aria-busy", "true");
  try {
    const page = await ask();
    then(page);
    for (const image of page.images) wall.put(image);
    next = page.next;
    if (!isRead()) leftovers.show();
    document.body.dataset.read = "";
    backoff.reset();
    connection.waits("list", false);
    messages.close("list");
  } catch (problem) {
    unread(problem, again);
  } finally {
    reading = null;
    list.removeAttribute("aria-busy");
    settle();
  }
}

function unread(problem, again) {
  if (problem.status === 401) {
    askToSignIn();
    return;
  }
  connection.waits("list", true);
  messages.show(problem.message, { key: "list", trouble: true });
  later = { read: again };
  setTimeout(() => {
    const { read } = later;
    later = null;
    read();
  }, backoff.next(problem.retryAfter));
}

/** Apply an event: read the changed image, unless the event itself holds the whole change. */
function apply(type, { imageId, status, version }) {
  const known = wall.find(imageId);
  if (type === "deleted") {
    wall.remove(imageId);
  } else if (type === "processing" && known) {
    if (version > known.version) wall.put({ ...known, status, version });
  } else if (!known || version > known.version) {
    if (wanted.size === 0) setTimeout(fetchWanted, BATCH_MS);
    wanted.set(imageId, version);
  }
}

async function fetchWanted() {
  await uploads.answered();
  const stale = ([id, version]) => !(wall.find(id)?.version >= version);
  const ids = [...wanted].filter(stale).map(([id]) => id);
  wanted.clear();
  for (let at = 0; at < ids.length; at += MAX_IMAGES) fetchAll(ids.slice(at, at + MAX_IMAGES), new Backoff());
}

/** An image that is not in the response has been deleted. */
async function fetchAll(ids, pace) {
  try {
    const found = new Map((await api.several(ids)).map((image) => [image.id, image]));
    for (const id of ids) found.has(id) ? update(found.get(id)) : wall.remove(id);
  } catch (problem) {
    if (problem.status !== 401) setTimeout(fetchAll, pace.next(problem.retryAfter), ids, pace);
  }
}

function update(image) {
  const before = wall.find(image.id);
  if (!before && next !== null && wall.isBeyond(image)) return; // a later page has it
  wall.put(image);
  if (!before || before.status === image.status) return;
  if (image.status === "READY") messages.say(`${image.title} is ready.`);
  if (image.status === "FAILED") showFailed(image);
}

function showFailed(image) {
  failed = [...failed.filter((id) => id !== image.id && wall.find(id)?.status === "FAILED"), image.id];
  const text = failed.length === 1 ? `${image.title}: ${image.error.message}` : `${failed.length} photos could not be rendered.`;
  const ids = failed;
  messages.show(text, { key: "unrendered", trouble: true, action: { label: "Show", run: () => show(ids) } });
}

function show(ids) {
  viewer.close();
  wall.point(ids);
}

function clicked(event, selector = null) {
  const tile = event.target.closest(".tile");
  const image = wall.find(tile?.dataset.id);
  const button = event.target.closest("button");
  if (!image || !button) return;
  if (selector === ".delete" || button.matches(".delete")) viewer.remove(image);
  else if (button.matches(".again")) retry(image);
  else if (button.matches(".open") && image.status === "READY") viewer.open(image);
}

async function retry(image) {
  try {
    wall.put(await api.reprocess(image.id));
    messages.say(`${image.title} is being rendered again.`);
  } catch (problem) {
    messages.show(`${image.title}: ${problem.message}`, { trouble: true });
  }
}

function settle() {
  $("empty").hidden = !wall.empty || !isRead();
  $("more").hidden = next === null;
}

function isRead() {
  return document.body.dataset.read !== undefined;
}
