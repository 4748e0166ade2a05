"""The OpenAPI document at `/api/openapi.json`; the pages for people are in `docs`."""

import re
from collections.abc import Iterator
from typing import Any

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
from gallery.web.openapi_errors import SCHEMA_PREFIX, with_errors
from gallery.web.openapi_examples import with_examples
from gallery.web.pages import NO_CACHE, content_security_policy

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
PATH_PARAMETER = re.compile(r"{(\w+)}")


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
        self._document: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        if self._document is None:
            self._document = self.render_json(request, described(openapi_schema, request.app))
        return self._document


def described(document: Document, app: Litestar) -> Document:
    """Litestar's document of the app with all that Litestar does not know."""
    named = with_schema_names(with_errors(document))
    return with_examples(with_camel_case_paths(with_upload_tickets(named, app)))


def with_schema_names(document: Document) -> Document:
    """The document, in which each schema has the name in its class's `__schema_name__`, Litestar's title of it."""
    schemas = document["components"]["schemas"]
    names = {SCHEMA_PREFIX + name: schema.get("title", name) for name, schema in schemas.items()}
    if len(set(names.values())) < len(names):
        raise ValueError(f"two schemas have the same name: {sorted(names.values())}")

    def renamed(part: Any) -> Any:
        if isinstance(part, list):
            return [renamed(item) for item in part]
        if not isinstance(part, dict):
            return part
        if part.get("$ref") in names:
            return part | {"$ref": SCHEMA_PREFIX + names[part["$ref"]]}
        return {key: renamed(value) for key, value in part.items()}

    result: Document = renamed(document)
    by_name = {names[SCHEMA_PREFIX + old]: schema for old, schema in result["components"]["schemas"].items()}
    return result | {"components": result["components"] | {"schemas": dict(sorted(by_name.items()))}}


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


def with_camel_case_paths(document: Document) -> Document:
    """The document with `{imageId}` for `{image_id}`, which Litestar takes from the name of a handler's argument."""
    return document | {
        "paths": {
            PATH_PARAMETER.sub(lambda match: f"{{{camel_case(match[1])}}}", path): {
                method: operation | _camel_case_parameters(operation) for method, operation in item.items()
            }
            for path, item in document["paths"].items()
        }
    }


def _camel_case_parameters(operation: Document) -> Document:
    parameters = operation.get("parameters")
    if not parameters:
        return {}
    return {"parameters": [p | {"name": camel_case(p["name"])} if p["in"] == "path" else p for p in parameters]}


def camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
