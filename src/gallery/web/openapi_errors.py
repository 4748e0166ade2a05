"""The errors in the OpenAPI document: problems, as components that the operations refer to."""

from typing import Any

import msgspec

from gallery import errors
from gallery.web.problems import Problem, encode_problem, status_of_type

Document = dict[str, Any]

SCHEMA_PREFIX = "#/components/schemas/"
RESPONSE_PREFIX = "#/components/responses/"
PROBLEM_TYPE = "application/problem+json"
# The errors of any operation with such a path, parameters and body: the name of the component, and what it says.
RESPONSES = {
    "400": ("BadRequest", "The request cannot be read"),
    "401": ("Unauthorized", "A credential is missing or not valid"),
    "403": ("Forbidden", "The credential lacks a scope, or the request comes from another origin or host"),
    "404": ("NotFound", "Nothing has this id or name"),
    "413": ("ContentTooLarge", "The body is too large"),
    "415": (
        "UnsupportedMediaType",
        "The file is not a picture in an accepted format, or the body's type is not in `Accept-Post`",
    ),
    "422": ("UnprocessableContent", "A parameter or a field is not valid"),
    "429": ("TooManyRequests", "Too many requests"),
    "501": ("NotImplemented", "A part of the standard that Gallery does not offer"),
    "503": ("ServiceUnavailable", "A server that Gallery needs is unavailable"),
    "default": ("AnyOtherError", "Any other error"),
}
EXAMPLES = (
    errors.MalformedBody,
    errors.CredentialsRequired,
    errors.ScopeMissing,
    errors.ImageNotFound,
    errors.TooLarge,
    errors.NotAPicture,
    errors.InvalidField,
    errors.TooManyRequests,
    errors.DatabaseUnavailable,
)
RETRY_AFTER = {"Retry-After": {"description": "Ask again after so many seconds", "schema": {"type": "integer"}}}
WITH_CREDENTIALS = ("/api/v1", "/admin", "/iiif", "/metrics")  # the beginnings of paths


def with_errors(document: Document) -> Document:
    """The document with Gallery's errors instead of those that Litestar describes, which are never sent."""
    paths = {
        path: {
            method: operation | {"responses": _responses(operation, _statuses(path, operation))}
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    (_,), schemas = msgspec.json.schema_components([Problem], ref_template=SCHEMA_PREFIX + "{name}")
    components = document["components"]
    described = {
        "schemas": components["schemas"] | schemas,
        "responses": {name: _component(status, words) for status, (name, words) in RESPONSES.items()},
    }
    return document | {"paths": paths, "components": components | described}


def response_of(document: Document, response: Document) -> Document:
    """The response itself, where an operation has a reference to it."""
    if "$ref" not in response:
        return response
    found: Document = document["components"]["responses"][response["$ref"].removeprefix(RESPONSE_PREFIX)]
    return found


def _statuses(path: str, operation: Document) -> set[str]:
    """The handler describes the others."""
    locations = {parameter["in"] for parameter in operation.get("parameters", [])}
    body = operation.get("requestBody", {}).get("content", {})
    by_fact = {
        "401 429 503": path.startswith(WITH_CREDENTIALS),
        "404": "path" in locations,
        "422": "query" in locations or body,
        "400 413": body,
        "415": "multipart/form-data" in body,
        "400 501": path.startswith("/iiif"),
    }
    return {"403", "default", *(status for statuses, fact in by_fact.items() if fact for status in statuses.split())}


def _responses(operation: Document, statuses: set[str]) -> Document:
    """Errors are problems, unless the handler describes another content. The 400 that Litestar describes is left out,
    since it never happens.
    """
    described = {status: r for status, r in operation["responses"].items() if status != "400"}
    described = {s: r if s < "400" or r.get("content") else r | _content(s) for s, r in described.items()}
    common = {status: {"$ref": RESPONSE_PREFIX + RESPONSES[status][0]} for status in statuses}
    return dict(sorted({**common, **described}.items()))


def _component(status: str, description: str) -> Document:
    examples = {kind.code(): {"value": _example(kind)} for kind in EXAMPLES if str(status_of_type(kind)) == status}
    return {"description": description} | _content(status, {"examples": examples} if examples else {})


def _content(status: str, more: Document | None = None) -> Document:
    headers = {"headers": RETRY_AFTER} if status in ("429", "503") else {}
    return headers | {"content": {PROBLEM_TYPE: {"schema": {"$ref": SCHEMA_PREFIX + "Problem"}} | (more or {})}}


def _example(kind: type[errors.GalleryError]) -> Document:
    body = encode_problem(status_of_type(kind), kind.code(), kind.sentence(), "/api/v1/images")
    example: Document = msgspec.json.decode(body)
    return example | {"requestId": "0199c1a2b3c4d5e6"}
