/** What a call throws: `GalleryError`, from the server's problem documents (RFC 9457). */

const NOT_DONE_STATUSES = [408, 423, 425, 429];
const LATER_CODES = ["still_in_flight", "offset_mismatch"];

/** A field or parameter that is not valid; `pointer` is a JSON pointer such as `/title`. */
export interface FieldProblem {
  pointer: string;
  detail: string;
}

export interface GalleryErrorOptions {
  status?: number | undefined;
  requestId?: string | undefined;
  errors?: FieldProblem[] | undefined;
  retryAfter?: number | undefined;
  cause?: unknown;
}

/**
 * The call failed. Decide by `code`, which never changes; show `detail`, a sentence.
 *
 * `status` is that of the answer, if there was one; `requestId` is in the server's log; `errors` name the fields that
 * are not valid; `retryAfter` is in seconds.
 */
export class GalleryError extends Error {
  override readonly name: string = "GalleryError";
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly errors: FieldProblem[];
  readonly retryAfter: number | undefined;

  constructor(
    readonly code: string,
    readonly detail: string,
    { status, requestId, errors = [], retryAfter, cause }: GalleryErrorOptions = {},
  ) {
    super(`${detail} (${code})`, cause === undefined ? {} : { cause });
    this.status = status;
    this.requestId = requestId;
    this.errors = errors;
    this.retryAfter = retryAfter;
  }

  /** Whether the same call may succeed later. */
  get temporary(): boolean {
    return this.notDone || (this.status ?? 0) >= 500 || LATER_CODES.includes(this.code);
  }

  /** Whether the server has certainly done nothing, so that any call may be repeated. */
  get notDone(): boolean {
    return NOT_DONE_STATUSES.includes(this.status ?? 0);
  }
}

/** There was no answer: no connection, or it broke, or it took too long. */
export class GalleryUnavailable extends GalleryError {
  override readonly name = "GalleryUnavailable";

  constructor(detail: string, cause?: unknown) {
    super("unavailable", detail, { cause });
  }

  override get temporary(): boolean {
    return true;
  }
}

/** The image was neither READY nor FAILED in time. It may be later. */
export class GalleryTimeout extends GalleryError {
  override readonly name = "GalleryTimeout";
}

/** Of `Headers`, what is needed to read an answer: `XMLHttpRequest` has it as `getResponseHeader`. */
export interface AnswerHeaders {
  get(name: string): string | null;
}

/** The error that an answer tells. A proxy's own pages get the code `http_502`. */
export function errorFrom(status: number, headers: AnswerHeaders, body: string): GalleryError {
  try {
    const { code, detail, errors, requestId } = JSON.parse(body);
    if (typeof code === "string")
      return new GalleryError(code, `${detail}`, { ...factsOf(status, headers, requestId), errors });
  } catch {
    // not Gallery's
  }
  const detail = `The server answered ${status} with ${typeOf(headers)}.`;
  return new GalleryError(`http_${status}`, detail, factsOf(status, headers));
}

/** The error for an answer that is none of Gallery's: a login page, for example. */
export function notUnderstood(status: number, headers: AnswerHeaders): GalleryError {
  const detail = `The answer is not one of Gallery's, but ${typeOf(headers)}.`;
  return new GalleryError("answer_not_understood", detail, factsOf(status, headers));
}

function typeOf(headers: AnswerHeaders): string {
  return headers.get("Content-Type") ?? "no content";
}

function factsOf(
  status: number,
  headers: AnswerHeaders,
  requestId: string | undefined = headers.get("X-Request-Id") ?? undefined,
): GalleryErrorOptions {
  return { status, requestId, retryAfter: retryAfter(headers) };
}

/** In seconds; the header has these, or a date. */
function retryAfter(headers: AnswerHeaders): number | undefined {
  const text = headers.get("Retry-After") ?? "";
  if (/^\d+$/.test(text)) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, (at - Date.now()) / 1000);
}
