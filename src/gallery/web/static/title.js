/** A title that is edited in a field as high as its lines; it is saved with Enter or when the field loses the focus. */

/**
 * @param {HTMLTextAreaElement} field
 * @param {object} on
 * @param {(title: string) => void} on.change
 * @param {() => void} on.leave
 * @returns {{set: (title: string) => void}}
 */
export function editable(field, { change, leave }) {
  let saved = "";
  const fit = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`; // and its borders
  };
  const set = (title) => {
    saved = field.value = title;
    fit();
  };
  field.oninput = () => {
    if (/[\r\n]/.test(field.value)) field.value = field.value.replace(/[\r\n]+/g, " ");
    fit();
  };
  field.onkeydown = (event) => {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      field.blur();
    } else if (event.key === "Escape") {
      event.preventDefault(); // the first Esc is for the text
      set(saved);
      leave();
    }
  };
  field.onblur = () => {
    const title = field.value.trim();
    if (title === "") set(saved);
    else if (title !== saved) change(title);
  };
  addEventListener("resize", fit);
  return { set };
}
