"""The API's documentation: the OpenAPI document at `/api/openapi.json`, and the same for people at `/api`."""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request, Router
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.response import Response
from msgspec import Struct

from gallery import __version__
from gallery.access.model import LETS_IN
from gallery.web.pages import CALM, policy
from gallery.web.problems import Problem

Document = dict[str, Any]

DESCRIPTION = (
    "Upload a photo; Gallery keeps the original, renders it for the web, and tells every client when it is ready."
)
SCHEMES: dict[str, SecurityScheme | Reference] = {
    "bearer": SecurityScheme("http", "An API key (gk_…) or a JWT", scheme="bearer"),
    "apiKey": SecurityScheme("apiKey", "An API key", name="X-Api-Key", security_scheme_in="header"),
}
REFERENCE = "#/components/schemas/"
LIMITS = {  # JSON Schema's words, and ours
    "minimum": "from {}",
    "maximum": "up to {}",
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "default": "{} by default",
}


def config() -> OpenAPIConfig:
    """What Litestar is told, so that the document and the page are served under `/api`."""
    return OpenAPIConfig(
        title="Gallery",
        version=__version__,
        description=DESCRIPTION,
        security=[{"bearer": []}, {"apiKey": []}, {}],
        components=Components(security_schemes=SCHEMES),
        openapi_router=Router("/api", route_handlers=[], opt=LETS_IN, include_in_schema=False, after_request=_finish),
        render_plugins=[Page(), Json()],
        use_handler_docstrings=True,
    )


def _finish(response: Response[Any]) -> Response[Any]:
    """Litestar answers what it does not know below `/api` with a page of its own; we answer with a problem."""
    if response.status_code == 404:
        raise NotFoundException
    response.headers["Content-Security-Policy"] = policy()
    response.headers["Cache-Control"] = CALM
    return response


class Json(OpenAPIRenderPlugin):
    def __init__(self) -> None:
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        return self.render_json(request, truthful(openapi_schema))


class Page(OpenAPIRenderPlugin):
    """Rendered once: the application does not change while it runs."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._page: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        if self._page is None:
            document = truthful(openapi_schema)
            template = request.app.template_engine.get_template("docs.html")  # type: ignore[union-attr]  # app has one
            page = template.render(info=document["info"], groups=groups(document), schemas=schemas(document))
            self._page = page.encode()
        return self._page


# --- the document -------------------------------------------------------------------------------------------------


def truthful(document: Document) -> Document:
    """The document with our errors in it: Litestar describes its own, and we never answer with those."""
    (problem,), components = msgspec.json.schema_components([Problem], ref_template=REFERENCE + "{name}")
    content = {"application/problem+json": {"schema": problem}}
    paths = {
        path: {
            method: operation | {"responses": _responses(operation, _errors(path, operation), content)}
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    described = document["components"] | {"schemas": document["components"]["schemas"] | components}
    return document | {"paths": paths, "components": described}


def _errors(path: str, operation: Document) -> dict[str, str]:
    """What can go wrong with an operation of this shape; its handler describes what else can."""
    places = {parameter["in"] for parameter in operation.get("parameters", [])}
    body = operation.get("requestBody", {}).get("content", {})
    found = {"403": "Not from there"}
    if path.startswith(("/api/v1", "/admin")):
        found |= {"401": "Nobody whom we know", "429": "Too often", "503": "Something that we need is away"}
    if "path" in places:
        found |= {"404": "There is no such thing"}
    if "query" in places or body:
        found |= {"422": "A parameter or a field does not fit"}
    if body:
        found |= {"400": "The body cannot be read", "413": "The body is too large"}
    if "multipart/form-data" in body:
        found |= {"415": "Not a picture that we take"}
    return found


def _responses(operation: Document, errors: dict[str, str], content: Document) -> Document:
    """Errors are problems, unless they are described with content of their own; Litestar's 400 never happens."""
    described = {status: r for status, r in operation["responses"].items() if status != "400"}
    described = {s: r if s < "400" or r.get("content") else r | {"content": content} for s, r in described.items()}
    ours = {status: {"description": words, "content": content} for status, words in errors.items()}
    everything = {**ours, **described}
    return dict(sorted(everything.items())) | {"default": {"description": "What went wrong", "content": content}}


# --- the page -----------------------------------------------------------------------------------------------------


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


class Table(Struct, frozen=True):
    """A schema: its fields, or the words that it allows."""

    name: str
    description: str
    fields: list[Field]
    choices: list[str]


def groups(document: Document) -> dict[str, list[Action]]:
    """The operations by tag, in the order of the paths."""
    found: dict[str, list[Action]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = (operation.get("tags") or ["others"])[0]
            found.setdefault(tag, []).append(_action(document, method, path, operation))
    return found


def schemas(document: Document) -> list[Table]:
    return [
        Table(name, schema.get("description", ""), list(_fields(schema)), [str(c) for c in schema.get("enum", [])])
        for name, schema in sorted(document["components"]["schemas"].items())
    ]


def _action(document: Document, method: str, path: str, operation: Document) -> Action:
    body_type, schema = _content(operation.get("requestBody", {}))
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].removeprefix(REFERENCE)]
    return Action(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description") or "",
        parameters=[_parameter(p) for p in operation.get("parameters", [])],
        body_type=body_type,
        body=list(_fields(schema)),
        answers=[_answer(status, response) for status, response in operation["responses"].items()],
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
