/** Sign-in where credentials are required: an API key or a token is exchanged for a cookie that scripts cannot read. */

import { signIn, signOut } from "./api.js";

const dialog = document.getElementById("signin"); // exists only where credentials are required
const form = dialog?.querySelector("form");
const trouble = dialog?.querySelector(".trouble");

/** Show the page as signed out, and open the dialog unless it is open. */
export function askToSignIn() {
  document.body.dataset.signedout = "";
  if (!dialog || dialog.open) return;
  dialog.showModal();
  form.elements.credential.focus();
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const credential = form.elements.credential.value.trim();
  if (!credential) return;
  trouble.textContent = "";
  try {
    await signIn(credential);
    form.reset();
    location.reload();
  } catch (problem) {
    trouble.textContent = problem.message;
    form.elements.credential.select();
  }
});

dialog?.addEventListener("cancel", (event) => event.preventDefault()); // the page behind it is empty

document.getElementById("signout")?.addEventListener("click", async () => {
  await signOut().catch(() => {});
  location.reload();
});
