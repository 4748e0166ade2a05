/** The gallery's page: reads the list, follows the notifications, and keeps the wall true to both. */

import * as api from "./api.js";
import { askToSignIn } from "./signin.js";
import { Uploads, receive } from "./uploads.js";
import { Viewer } from "./viewer.js";
import { Wall } from "./wall.js";

const PAGE = 60;
const MOST = 200; // images of one answer
const GATHER = 60; // ms for more news, to ask once for all of it
const AGAIN = 3000; // ms after a read that went wrong
const PATIENCE = 2000; // ms for the stream to open; the list is read without it then

const $ = (id) => document.getElementById(id);
const list = $("wall");
const wall = new Wall(list, $("tile"));
const uploads = new Uploads(wall, say, Number(document.body.dataset.maxBytes));
const viewer = new Viewer($("viewer"), $("sure"), wall, say);
const wanted = new Map(); // ids of images to read, each with the version we have heard of
let next = null; // where the page after the last one is
let reading = null; // the read of a page under way
let connected = false; // to the notifications

new MutationObserver(settle).observe(list, { childList: true });
new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && more(), { rootMargin: "1200px" }).observe($("more"));
list.addEventListener("click", clicked);
$("more").addEventListener("click", more);
for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    uploads.add(input.files);
    input.value = "";
  });
}
receive((files) => uploads.add(files));
addEventListener("beforeunload", (event) => uploads.busy && event.preventDefault());
api.follow({ news: hear, fresh: reload, connection: (is) => show((connected = is)), refused });
setTimeout(() => isRead() || reading || reload(), PATIENCE);

/** Read the list from its beginning: at the start, and when events are gone that we have not heard. */
async function reload() {
  await reading;
  const asked = wall.ids;
  reading = read(() => api.page(Math.min(MOST, Math.max(PAGE, asked.length))), reload, ({ images }) => {
    wall.keepOnly(images, asked);
  });
  await reading;
  viewer.start();
}

async function more() {
  if (next === null || reading !== null) return;
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
    document.body.dataset.read = "";
    show(connected);
  } catch (problem) {
    show(false);
    say(problem.message);
    if (problem.status === 401) askToSignIn();
    else setTimeout(again, AGAIN);
  } finally {
    reading = null;
    list.removeAttribute("aria-busy");
    settle();
  }
}

/** The stream cannot say why it was refused; another question can. */
async function refused() {
  await api.page(1).catch(({ status }) => status === 401 && askToSignIn());
}

/** An event says that an image has changed; what it is now is read, unless the event says all of it. */
function hear(type, { imageId, status, version }) {
  const known = wall.find(imageId);
  if (type === "deleted") {
    wall.remove(imageId);
  } else if (type === "processing" && known) {
    if (version > known.version) wall.put({ ...known, status, version });
  } else if (!known || version > known.version) {
    if (wanted.size === 0) setTimeout(fetchWanted, GATHER);
    wanted.set(imageId, version);
  }
}

async function fetchWanted() {
  await uploads.answered();
  const stale = ([id, version]) => !(wall.find(id)?.version >= version);
  const ids = [...wanted].filter(stale).map(([id]) => id);
  wanted.clear();
  for (let at = 0; at < ids.length; at += MOST) fetchAll(ids.slice(at, at + MOST));
}

/** An image that is not in the answer is gone. */
async function fetchAll(ids) {
  try {
    const found = new Map((await api.several(ids)).map((image) => [image.id, image]));
    for (const id of ids) found.has(id) ? update(found.get(id)) : wall.remove(id);
  } catch {
    setTimeout(fetchAll, AGAIN, ids);
  }
}

function update(image) {
  const before = wall.find(image.id);
  if (!before && next !== null && wall.isBeyond(image)) return; // its page will bring it
  wall.put(image);
  if (!before || before.status === image.status) return;
  if (image.status === "READY") say(`${image.title} is ready.`);
  if (image.status === "FAILED") say(`${image.title}: ${image.error.message}`);
}

function clicked(event) {
  const button = event.target.closest("button");
  const image = wall.find(button?.closest(".tile").dataset.id);
  if (!image) return;
  if (button.matches(".open")) viewer.open(image);
  if (button.matches(".dismiss")) viewer.remove(image);
}

function settle() {
  $("empty").hidden = !wall.empty || !isRead();
  $("more").hidden = next === null;
}

function isRead() {
  return document.body.dataset.read !== undefined;
}

function show(live) {
  const sign = $("connection");
  sign.dataset.state = live ? "live" : "lost";
  sign.textContent = sign.title = live ? "Live" : "Reconnecting…";
}

/** For those who listen to the page. */
function say(sentence) {
  $("status").textContent = sentence;
}
