/** Properties that are attributes, as those of HTML's own elements are. */

type Kind = BooleanConstructor | NumberConstructor | StringConstructor | ArrayConstructor;

/** Adds the properties to a class; `maxFiles` is the attribute `max-files`, an array a list with commas. */
export function reflect(prototype: object, kinds: Record<string, Kind>): void {
  for (const [name, kind] of Object.entries(kinds)) {
    const attribute = attributeName(name);
    Object.defineProperty(prototype, name, {
      configurable: true,
      enumerable: true,
      get(this: HTMLElement) {
        const text = this.getAttribute(attribute);
        if (kind === Boolean) return text !== null;
        if (kind === Number) return Number(text) || 0;
        return kind === Array ? split(text) : (text ?? "");
      },
      set(this: HTMLElement, value: unknown) {
        if (value === null || value === undefined || value === false) this.removeAttribute(attribute);
        else this.setAttribute(attribute, value === true ? "" : String(value));
      },
    });
  }
}

export function attributeName(property: string): string {
  return property.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

export function split(text: string | null): string[] {
  return (text ?? "").split(/\s*,\s*/).filter(Boolean);
}
