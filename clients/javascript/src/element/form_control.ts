const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement; // on a server, there is none

/** What an element needs to be a field of a form, as HTML's own fields are. */
export abstract class FormControl extends Base {
  static readonly formAssociated = true;

  protected readonly internals = this.attachInternals();
  protected customFault = "";

  get form(): HTMLFormElement | null {
    return this.internals.form;
  }

  get labels(): NodeList {
    return this.internals.labels;
  }

  get validity(): ValidityState {
    return this.internals.validity;
  }

  get validationMessage(): string {
    return this.internals.validationMessage;
  }

  get willValidate(): boolean {
    return this.internals.willValidate;
  }

  checkValidity(): boolean {
    return this.internals.checkValidity();
  }

  reportValidity(): boolean {
    return this.internals.reportValidity();
  }

  setCustomValidity(message: string): void {
    this.customFault = message;
    this.changed();
  }

  protected abstract changed(): void;
}
