"""The API's documentation for people: the operations at `/api`, the problem codes at `/api/errors`.

Each page is rendered once, since the application does not change while it runs.
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
from gallery.web.openapi import Document, described
from gallery.web.openapi_errors import SCHEMA_PREFIX, response_of

TAG_ORDER = ("images", "uploads", "notifications", "access", "others", "operation", "administration")
FIRST_OPERATIONS = ("uploadImage", "listImages", "getImage")
CONSTRAINTS = {  # JSON Schema's keywords, and their texts on the page
    "minimum": "from {}",
    "maximum": "up to {}",
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "default": "{} by default",
}


class DocsPage(OpenAPIRenderPlugin):
    """A rendered page; its samples call `base_url`."""

    def __init__(self, path: str, template: str, base_url: str) -> None:
        super().__init__(path=path, media_type=MediaType.HTML)
        self._template = template
        self._base_url = base_url
        self._page: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        if self._page is None:
            template = request.app.template_engine.get_template(self._template)  # type: ignore[union-attr]  # app has one
            self._page = template.render(**self._context(described(openapi_schema, request.app))).encode()
        return self._page

    def _context(self, document: Document) -> dict[str, Any]:
        return {
            "info": document["info"],
            "groups": operations_by_tag(document),
            "schemas": schemas(document),
            "languages": samples.LANGUAGES,
            "setup": samples.setup(self._base_url),
            "errors": catalogue(),
        }


def pages(settings: Settings) -> list[OpenAPIRenderPlugin]:
    base_url = settings.public_url or f"http://127.0.0.1:{settings.port}"
    return [DocsPage("/", "docs.html", base_url), DocsPage("/errors", "errors.html", base_url)]


class TypeName(Struct, frozen=True):
    """A type as text, e.g. `ImageView[]`, and the name of its schema, if it has one."""

    text: str
    schema: str = ""


class Field(Struct, frozen=True):
    """A row of a table: a parameter, or a field of a body or a schema."""

    name: str
    type_name: TypeName
    required: bool = False
    location: str = ""
    notes: str = ""


class ResponseDoc(Struct, frozen=True):
    status: str
    description: str
    media_type: str
    type_name: TypeName | None


class Operation(Struct, frozen=True):
    """One method on one path."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body_type: str
    body: list[Field]
    responses: list[ResponseDoc]
    errors: list[ResponseDoc]
    samples: dict[str, str]


class SchemaDoc(Struct, frozen=True):
    """A schema: its fields, or the values of an enumeration."""

    name: str
    description: str
    fields: list[Field]
    choices: list[str]


def operations_by_tag(document: Document) -> dict[str, list[Operation]]:
    """The operations by tag: images first, administration last."""
    found: dict[str, list[Operation]] = {tag: [] for tag in TAG_ORDER}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = (operation.get("tags") or ["others"])[0]
            found.setdefault(tag, []).append(_operation(document, method, path, operation))
    ordered = sorted(found, key=lambda tag: TAG_ORDER.index(tag if tag in TAG_ORDER else "others"))
    return {tag: sorted(found[tag], key=_sort_key) for tag in ordered if found[tag]}


def _sort_key(operation: Operation) -> int:
    return FIRST_OPERATIONS.index(operation.id) if operation.id in FIRST_OPERATIONS else len(FIRST_OPERATIONS)


def schemas(document: Document) -> list[SchemaDoc]:
    return [
        SchemaDoc(name, schema.get("description", ""), list(_fields(schema)), [str(c) for c in schema.get("enum", [])])
        for name, schema in sorted(document["components"]["schemas"].items())
    ]


def _operation(document: Document, method: str, path: str, operation: Document) -> Operation:
    body_type, schema = _content(operation.get("requestBody", {}))
    if schema.get("type") == "array":
        body_type, schema = f"{body_type} (an array)", schema["items"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].removeprefix(SCHEMA_PREFIX)]
    responses = [
        _response(status, response_of(document, response)) for status, response in operation["responses"].items()
    ]
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description") or "",
        parameters=[_parameter(p) for p in operation.get("parameters", [])],
        body_type=body_type,
        body=list(_fields(schema)),
        responses=[response for response in responses if response.status < "400"],
        errors=[response for response in responses if response.status >= "400"],
        samples=samples.samples(samples.call_of(document, method, path, operation)),
    )


def _parameter(parameter: Document) -> Field:
    schema = _without_null(parameter.get("schema", {}))
    description = parameter.get("description") or schema.get("description") or ""
    return Field(
        parameter["name"], _type_name(schema), parameter["required"], parameter["in"], _notes(schema, description)
    )


def _without_null(schema: Document) -> Document:
    """The schema without `null`, which no client can send in a parameter."""
    choices = [choice for choice in schema.get("oneOf", []) if choice.get("type") != "null"]
    rest = {keyword: value for keyword, value in schema.items() if keyword != "oneOf"}
    return rest | (choices[0] if len(choices) == 1 else {"oneOf": choices})


def _fields(schema: Document) -> Iterator[Field]:
    for name, field in schema.get("properties", {}).items():
        notes = _notes(field, field.get("description", ""))
        yield Field(name, _type_name(field), name in schema.get("required", []), notes=notes)


def _response(status: str, response: Document) -> ResponseDoc:
    media_type, schema = _content(response)
    return ResponseDoc(status, response.get("description", ""), media_type, _type_name(schema) if schema else None)


def _content(message: Document) -> tuple[str, Document]:
    """The first media type of a body or a response, and its schema."""
    for media_type, media in message.get("content", {}).items():
        return media_type, media.get("schema", {})
    return "", {}


def _type_name(schema: Document) -> TypeName:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return TypeName(name, name)
    if "enum" in schema:
        return TypeName(" | ".join(str(choice) for choice in schema["enum"]))
    choices = [_type_name(choice) for choice in schema.get("oneOf") or schema.get("anyOf") or []]
    if choices:
        return TypeName(" or ".join(c.text for c in choices), next((c.schema for c in choices if c.schema), ""))
    if schema.get("type") == "array":
        item = _type_name(schema.get("items", {}))
        return TypeName(f"{item.text}[]", item.schema)
    if schema.get("contentMediaType"):
        return TypeName("file")
    kind = schema.get("format") or schema.get("type") or "any"
    return TypeName(" or ".join(kind) if isinstance(kind, list) else kind)


def _notes(schema: Document, description: str) -> str:
    limits = (
        text.format(_without_fraction(schema[keyword]))
        for keyword, text in CONSTRAINTS.items()
        if schema.get(keyword) not in (None, [])
    )
    return "; ".join(part for part in (description, *limits) if part)


def _without_fraction(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
