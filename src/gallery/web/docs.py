"""The API's documentation for people: the calls at `/api`, the problem codes at `/api/errors`.

Both are rendered once: the application does not change while it runs.
"""

from collections.abc import Iterator
from typing import Any

from litestar import Request
from litestar.enums import MediaType
from litestar.openapi.plugins import OpenAPIRenderPlugin
from msgspec import Struct

from gallery.settings import Settings
from gallery.web import samples
from gallery.web.catalogue import catalogue
from gallery.web.openapi import REFERENCE, Document, truthful

ORDER = ("images", "uploads", "notifications", "access", "others", "operation", "administration")
FIRST = ("uploadImage", "listImages", "getImage")
LIMITS = {  # JSON Schema's words, and ours
    "minimum": "from {}",
    "maximum": "up to {}",
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "default": "{} by default",
}


class Page(OpenAPIRenderPlugin):
    """`address` is what the samples call."""

    def __init__(self, path: str, template: str, address: str) -> None:
        super().__init__(path=path, media_type=MediaType.HTML)
        self._template = template
        self._address = address
        self._page: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        if self._page is None:
            template = request.app.template_engine.get_template(self._template)  # type: ignore[union-attr]  # app has one
            self._page = template.render(**self._context(truthful(openapi_schema))).encode()
        return self._page

    def _context(self, document: Document) -> dict[str, Any]:
        return {
            "info": document["info"],
            "groups": groups(document),
            "schemas": schemas(document),
            "languages": samples.LANGUAGES,
            "setup": samples.setup(self._address),
            "errors": catalogue(),
        }


def pages(settings: Settings) -> list[OpenAPIRenderPlugin]:
    address = settings.public_url or f"http://127.0.0.1:{settings.port}"
    return [Page("/", "docs.html", address), Page("/errors", "errors.html", address)]


class Kind(Struct, frozen=True):
    """A type in words, e.g. `ImageView[]`, and the schema to look up if there is one."""

    words: str
    schema: str = ""


class Field(Struct, frozen=True):
    """A row of a table: a parameter, a field of a body or of a schema."""

    name: str
    kind: Kind
    required: bool = False
    place: str = ""
    notes: str = ""


class Answer(Struct, frozen=True):
    status: str
    description: str
    media_type: str
    kind: Kind | None


class Action(Struct, frozen=True):
    """An operation: what one method does on one path."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body_type: str
    body: list[Field]
    answers: list[Answer]
    errors: list[Answer]
    samples: dict[str, str]


class Table(Struct, frozen=True):
    """A schema: its fields, or the words that it allows."""

    name: str
    description: str
    fields: list[Field]
    choices: list[str]


def groups(document: Document) -> dict[str, list[Action]]:
    """The operations by tag: images first, administration last."""
    found: dict[str, list[Action]] = {tag: [] for tag in ORDER}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = (operation.get("tags") or ["others"])[0]
            found.setdefault(tag, []).append(_action(document, method, path, operation))
    ordered = sorted(found, key=lambda tag: ORDER.index(tag if tag in ORDER else "others"))
    return {tag: sorted(found[tag], key=_place) for tag in ordered if found[tag]}


def _place(action: "Action") -> int:
    return FIRST.index(action.id) if action.id in FIRST else len(FIRST)


def schemas(document: Document) -> list[Table]:
    return [
        Table(name, schema.get("description", ""), list(_fields(schema)), [str(c) for c in schema.get("enum", [])])
        for name, schema in sorted(document["components"]["schemas"].items())
    ]


def _action(document: Document, method: str, path: str, operation: Document) -> Action:
    body_type, schema = _content(operation.get("requestBody", {}))
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].removeprefix(REFERENCE)]
    answers = [_answer(status, response) for status, response in operation["responses"].items()]
    return Action(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description") or "",
        parameters=[_parameter(p) for p in operation.get("parameters", [])],
        body_type=body_type,
        body=list(_fields(schema)),
        answers=[answer for answer in answers if answer.status < "400"],
        errors=[answer for answer in answers if answer.status >= "400"],
        samples=samples.samples(samples.call_of(document, method, path, operation)),
    )


def _parameter(parameter: Document) -> Field:
    schema = _present(parameter.get("schema", {}))
    words = parameter.get("description") or schema.get("description") or ""
    return Field(parameter["name"], _kind(schema), parameter["required"], parameter["in"], _notes(schema, words))


def _present(schema: Document) -> Document:
    """A parameter that may be left out has no null to send."""
    choices = [choice for choice in schema.get("oneOf", []) if choice.get("type") != "null"]
    rest = {word: value for word, value in schema.items() if word != "oneOf"}
    return rest | (choices[0] if len(choices) == 1 else {"oneOf": choices})


def _fields(schema: Document) -> Iterator[Field]:
    for name, field in schema.get("properties", {}).items():
        notes = _notes(field, field.get("description", ""))
        yield Field(name, _kind(field), name in schema.get("required", []), notes=notes)


def _answer(status: str, response: Document) -> Answer:
    media_type, schema = _content(response)
    return Answer(status, response.get("description", ""), media_type, _kind(schema) if schema else None)


def _content(message: Document) -> tuple[str, Document]:
    """The first media type of a body or an answer, and its schema."""
    for media_type, media in message.get("content", {}).items():
        return media_type, media.get("schema", {})
    return "", {}


def _kind(schema: Document) -> Kind:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Kind(name, name)
    if "enum" in schema:
        return Kind(" | ".join(str(choice) for choice in schema["enum"]))
    choices = [_kind(choice) for choice in schema.get("oneOf") or schema.get("anyOf") or []]
    if choices:
        return Kind(" or ".join(c.words for c in choices), next((c.schema for c in choices if c.schema), ""))
    if schema.get("type") == "array":
        item = _kind(schema.get("items", {}))
        return Kind(f"{item.words}[]", item.schema)
    if schema.get("contentMediaType"):
        return Kind("file")
    kind = schema.get("format") or schema.get("type") or "any"
    return Kind(" or ".join(kind) if isinstance(kind, list) else kind)


def _notes(schema: Document, words: str) -> str:
    limits = (text.format(_plain(schema[word])) for word, text in LIMITS.items() if schema.get(word) not in (None, []))
    return "; ".join(part for part in (words, *limits) if part)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
