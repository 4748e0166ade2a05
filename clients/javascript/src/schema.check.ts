/**
 * Checks that the types written by hand in `types.ts` agree with those of the OpenAPI document in `schema.ts`: a field
 * that is wrong or missing in one of them is an error of the compiler here. Nothing of this is published.
 */
import type { components, operations } from "./schema.js";
import type {
  EventType,
  Focus,
  GalleryEvent,
  Image,
  ImageChanges,
  ImageFilter,
  Lane,
  PictureQuery,
  Rendition,
  Sort,
  Status,
  UploadFields,
  Visibility,
} from "./types.js";

type Schemas = components["schemas"];
type Query<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;
type Form = operations["uploadImage"]["requestBody"]["content"]["multipart/form-data"];

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Plain<T> = T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Field<T, K> = K extends keyof T
  ? Record<string, never> extends Pick<T, K>
    ? ["optional", T[K]]
    : T[K]
  : "missing";
/** The fields that differ, each with its type here and in the API. */
type Differences<Here, Api> = {
  [K in keyof Here | keyof Api as Same<Plain<Field<Here, K>>, Plain<Field<Api, K>>> extends true ? never : K]: [
    here: Field<Here, K>,
    api: Field<Api, K>,
  ];
};
type Known<T> = { [K in keyof T]-?: NonNullable<T[K]> };

declare function same<Differing extends Record<string, never>>(): Differing;
declare function equal<AreEqual extends true>(): AreEqual;

same<Differences<Omit<Image, "duplicate">, Schemas["Image"]>>();
equal<Same<Known<Image>, Known<Plain<Schemas["UploadedImage"]>>>>();
same<Differences<Rendition, Schemas["Rendition"]>>();
same<Differences<Focus, Schemas["Focus"]>>();
same<Differences<ImageChanges, Schemas["ImageChanges"]>>();
equal<Same<Status, Schemas["Status"]>>();
equal<Same<Visibility, Schemas["Visibility"]>>();

// `null` and absent are one for a reader of an event; `id` and `type` come from the stream's own lines.
same<Differences<Known<Omit<GalleryEvent, "id" | "type">>, Known<Schemas["Event"]>>>();
equal<Same<Exclude<EventType, "reset">, NonNullable<Query<"streamEvents">["types"]>[number]>>();

// The client writes a focus as text, and sends the file and its SHA-256 itself.
same<Differences<Omit<UploadFields, "focus">, Omit<Form, "file" | "sha256" | "focus">>>();
equal<Same<Lane, NonNullable<Form["lane"]>>>();

// The client says `tags` for the repeatable `tag`, takes one status or several, and follows the pages itself.
type Filter = Omit<ImageFilter, "signal" | "tags" | "status">;
same<Differences<Filter, Omit<Query<"listImages">, "tag" | "status" | "cursor">>>();
equal<Same<Sort, NonNullable<Query<"listImages">["sort"]>>>();
equal<Same<Status, NonNullable<Query<"listImages">["status"]>[number]>>();

// `v` is in the URLs that Gallery gives out; `gray: false` is the same as none.
same<Differences<Omit<PictureQuery, "gray">, Omit<Query<"getPicture">, "v" | "gray">>>();
