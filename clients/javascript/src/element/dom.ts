/** Elements without HTML texts: nothing is parsed, so Trusted Types and a strict CSP have nothing to refuse. */

const SVG = "http://www.w3.org/2000/svg";

const SHAPES = {
  camera: "M4 8h3l2-3h6l2 3h3v11H4zM12 10a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  cross: "M6 6l12 12M18 6L6 18",
  folder: "M3 6h6l2 2h10v11H3z",
  pause: "M9 6v12M15 6v12",
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  resume: "M8 5.5v13l10.5-6.5z",
  retry: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4.5V9H15",
  upload: "M12 16V5M7.5 9L12 4.5 16.5 9M5 15v4h14v-4",
};

export type Shape = keyof typeof SHAPES;

/** An element with its parts, which are its classes too. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  parts: string,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: Node[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), { className: parts, part: parts }, properties);
  made.append(...children);
  return made;
}

/** A line drawing of 24 × 24, in the colour of the text. */
export function icon(shape: Shape): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.ariaHidden = "true";
  path.setAttribute("d", SHAPES[shape]);
  svg.append(path);
  return svg;
}

export function button(part: string, onclick: () => void): HTMLButtonElement {
  return element("button", `button ${part}`, { type: "button", onclick });
}

/** Gives a button its name, and a picture before it or, if it is `round`, instead. Its focus stays. */
export function label(button: HTMLButtonElement, text: string, shape?: Shape, round = false): void {
  if (button.ariaLabel === text) return;
  button.ariaLabel = text;
  if (round) button.title = text;
  button.replaceChildren(...(shape ? [icon(shape)] : []), ...(round ? [] : [text]));
}

/** Hides a button, or shows it. Its focus does not get lost: it goes to `next`. */
export function hide(button: HTMLButtonElement, hidden: boolean, next: HTMLButtonElement): void {
  if (hidden && button.matches(":focus")) next.focus();
  button.hidden = hidden;
}
