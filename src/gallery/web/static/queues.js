/** The operators' page: fetched again every few seconds, with keyboard navigation. The server renders all of it. */

import { Messages } from "./messages.js";
import { askToSignIn } from "./signin.js";

const REFRESH_MS = 3000;
const connection = document.getElementById("connection");
const KEYS = { r: ".retry", d: ".drop" };
const DONE = {
  pause: "Paused",
  resume: "Resumed",
  retry: "Queued for another attempt",
  drop: "Dropped",
};

let messages = null;

if (document.body.hasAttribute("data-signin")) {
  askToSignIn();
} else {
  messages = new Messages(document.getElementById("messages"));
  setInterval(() => document.hidden || refresh(), REFRESH_MS);
  document.addEventListener("submit", act);
  document.addEventListener("keydown", walk);
}

/** Fetch the page again, and replace the parts of this one. The focus and open details stay. */
async function refresh() {
  const page = await fetched().catch(() => null);
  connection.dataset.state = page ? "live" : "lost";
  connection.textContent = page ? "Live" : "Reconnecting…";
  if (!page || document.querySelector("button:active, summary:active, a:active")) return;
  for (const part of page.querySelectorAll("[data-live]")) replace(document.getElementById(part.id), part);
  document.body.dataset.refreshed = String(Number(document.body.dataset.refreshed ?? 0) + 1);
}

/** The page as a document, parsed by the browser: the content security policy forbids markup from strings. */
function fetched() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    request.onload = () => (request.status === 200 ? resolve(request.response) : left(request.status, reject));
    request.onerror = reject;
    request.send();
  });
}

function left(code, reject) {
  if (code === 401 || code === 403) location.reload(); // shows how to sign in
  else reject();
}

function replace(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const index = focused && rows(old).indexOf(rowOf(focused));
  for (const details of old.querySelectorAll("details[open]")) fresh.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute("open", "");
  old.replaceWith(fresh);
  if (focused) (again(focused, fresh) ?? rows(fresh).at(Math.min(index, rows(fresh).length - 1)))?.focus();
}

const again = (element, part) => (element.id ? part.querySelector(`#${CSS.escape(element.id)}`) : null);
const rows = (part) => [...part.querySelectorAll("summary")];
const rowOf = (element) => element.closest(".rows > li")?.querySelector("summary");

/** Send the action of a button, and show its result. */
async function act(event) {
  event.preventDefault();
  const { action } = event.target;
  const button = event.submitter ?? event.target.querySelector("button");
  if (button.ariaBusy) return;
  button.ariaBusy = "true"; // and not disabled: it would lose the focus
  try {
    const response = await fetch(action, { method: "POST", headers: { Accept: "application/json" } });
    messages.show(await resultText(response, new URL(action).pathname.split("/").at(-1)), { key: "done", trouble: !response.ok });
  } catch {
    messages.show("Gallery cannot be reached.", { key: "done", trouble: true });
  }
  button.ariaBusy = null;
  await refresh();
}

async function resultText(response, deed) {
  const body = response.status === 204 ? {} : await response.json();
  if (!response.ok) return body.detail;
  return "count" in body ? `${DONE[deed]}: ${body.count}${body.more ? ", and there are more" : ""}.` : `${DONE[deed]}.`;
}

/** Keyboard: up and down through the rows of a list, and a letter for each button of a row. */
function walk(event) {
  const row = rowOf(event.target);
  if (!row || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("pre, input")) return;
  const key = event.key.toLowerCase();
  if (key === "arrowdown" || key === "arrowup") step(row, key === "arrowdown" ? 1 : -1);
  else if (key in KEYS) row.closest("li").querySelector(KEYS[key]).click();
  else return;
  event.preventDefault();
}

function step(row, by) {
  const all = rows(row.closest(".rows"));
  all[all.indexOf(row) + by]?.focus();
}
