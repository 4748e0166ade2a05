"""The OpenAPI document at `/api/openapi.json`; the pages for people are in `docs`."""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar, Request, Router
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.response import Response
from litestar.routes import HTTPRoute

from gallery import __version__
from gallery.access.model import DEFAULT_POLICY, PUBLIC, RoutePolicy
from gallery.web.pages import NO_CACHE, content_security_policy
from gallery.web.problems import Problem

Document = dict[str, Any]

DESCRIPTION = (
    "Upload a photo; Gallery keeps the original, renders it for the web, and notifies every client when it is ready."
)
SECURITY_SCHEMES: dict[str, SecurityScheme | Reference] = {
    "bearer": SecurityScheme("http", "An API key (gk_…) or a JWT", scheme="bearer"),
    "apiKey": SecurityScheme("apiKey", "An API key", name="X-Api-Key", security_scheme_in="header"),
    "uploadTicket": SecurityScheme(
        "apiKey", "An upload ticket, as `Upload gt_…`", name="Authorization", security_scheme_in="header"
    ),
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}, {}]  # of operations without one of their own
SCHEMA_REF_PREFIX = "#/components/schemas/"


def config(*pages: OpenAPIRenderPlugin) -> OpenAPIConfig:
    """Serves the document and these pages under `/api`."""
    return OpenAPIConfig(
        title="Gallery",
        version=__version__,
        description=DESCRIPTION,
        security=SECURITY,
        components=Components(security_schemes=SECURITY_SCHEMES),
        openapi_router=Router(
            "/api", route_handlers=[], opt=PUBLIC, include_in_schema=False, after_request=_after_request
        ),
        render_plugins=[*pages, JsonPlugin()],
        use_handler_docstrings=True,
    )


def _after_request(response: Response[Any]) -> Response[Any]:
    """Litestar has a page of its own for unknown paths below `/api`; the exception replaces it by a problem."""
    if response.status_code == 404:
        raise NotFoundException
    response.headers["Content-Security-Policy"] = content_security_policy()
    response.headers["Cache-Control"] = NO_CACHE
    return response


class JsonPlugin(OpenAPIRenderPlugin):
    def __init__(self) -> None:
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        return self.render_json(request, with_upload_tickets(with_problems(openapi_schema), request.app))


def with_upload_tickets(document: Document, app: Litestar) -> Document:
    """The document, in which operations that take upload tickets say so."""
    allowed = {handler.operation_id for handler in _handlers(app) if _allows_upload_ticket(handler)}
    security = {"security": [*SECURITY, {"uploadTicket": []}]}
    paths = {
        path: {
            method: operation | security if operation["operationId"] in allowed else operation
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    return document | {"paths": paths}


def _handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            yield from route.route_handlers


def _allows_upload_ticket(handler: HTTPRouteHandler) -> bool:
    policy: RoutePolicy = handler.opt.get("policy", DEFAULT_POLICY)
    return policy.allow_upload_ticket


def with_problems(document: Document) -> Document:
    """The document with Gallery's errors instead of those that Litestar describes, which are never sent."""
    (problem,), components = msgspec.json.schema_components([Problem], ref_template=SCHEMA_REF_PREFIX + "{name}")
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
    """The errors of any operation with such a path, parameters and body; its handler describes the others."""
    locations = {parameter["in"] for parameter in operation.get("parameters", [])}
    body = operation.get("requestBody", {}).get("content", {})
    responses = {"403": "The credential lacks a scope, or the request comes from another origin or host"}
    if path.startswith(("/api/v1", "/admin")):
        responses |= {
            "401": "A credential is missing or not valid",
            "429": "Too many requests",
            "503": "A server that Gallery needs is unavailable",
        }
    if "path" in locations:
        responses |= {"404": "Nothing has this id or name"}
    if "query" in locations or body:
        responses |= {"422": "A parameter or a field is not valid"}
    if body:
        responses |= {"400": "The body cannot be read", "413": "The body is too large"}
    if "multipart/form-data" in body:
        responses |= {
            "415": "The file is not a picture in an accepted format, or the body's type is not in `Accept-Post`"
        }
    return responses


def _responses(operation: Document, errors: dict[str, str], content: Document) -> Document:
    """The responses with problems as the content of errors, unless an error describes another content. The 400 that
    Litestar describes is left out, since it never happens.
    """
    described = {status: r for status, r in operation["responses"].items() if status != "400"}
    described = {s: r if s < "400" or r.get("content") else r | {"content": content} for s, r in described.items()}
    problems = {status: {"description": description, "content": content} for status, description in errors.items()}
    responses = dict(sorted({**problems, **described}.items()))
    return responses | {"default": {"description": "Any other error", "content": content}}
