"""The gallery's page at `/` and its static files. The API's documentation is in `docs`."""

import hashlib
import mimetypes
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Response, Template
from litestar.template import TemplateConfig

from gallery import __version__
from gallery.access.model import PUBLIC
from gallery.access.service import Access, Credentials
from gallery.adapters.valkey.rates import UNLIMITED
from gallery.conditions import unchanged
from gallery.negotiation import best, names_explicitly
from gallery.settings import Settings
from gallery.web.authentication import credentials_of
from gallery.web.routing import QUIET

HERE = Path(__file__).parent
HTML = "text/html"
NO_CACHE = "no-cache"  # browsers revalidate each file, so that a page never mixes modules of two releases
NO_CREDENTIALS = Credentials()
PAGE_SCRIPTS = ("home.js", "queues.js")  # scripts of pages, which import the others


class Asset(NamedTuple):
    """A static file, read once."""

    body: bytes
    media_type: str
    etag: str


def content_security_policy(image_origin: str = "") -> str:
    """Scripts and styles come from this origin's files only, none inline, and no string becomes markup."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: {image_origin}; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ).replace(" ;", ";")


@get("/", opt=PUBLIC, include_in_schema=False)
async def home(
    request: Request[Any, Any, Any], access: NamedDependency[Access], settings: NamedDependency[Settings]
) -> Response[Any]:
    headers = {"Vary": "Accept, Cookie, Authorization, X-Api-Key", "Cache-Control": NO_CACHE}
    if not (names_explicitly(_accept(request), HTML) and wants_html(request)):  # a probe sends no Accept, or */*
        return Response({"status": "ok", "version": __version__}, headers=headers)
    context = {
        "version": __version__,
        "max_bytes": settings.upload.max_bytes,
        "closed": not access.open,
        "signed_out": not access.open and credentials_of(request.scope) == NO_CREDENTIALS,
        "modules": PRELOADED_MODULES,
    }
    security_headers = {"Content-Security-Policy": content_security_policy(_origin_of(settings.public_url))}
    return Template("home.html", context=context, headers=headers | security_headers)


@get("/static/{name:str}", opt=PUBLIC | UNLIMITED | QUIET, include_in_schema=False)
async def static(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    asset = ASSETS.get(name)
    if asset is None:
        raise NotFoundException
    headers = {"ETag": f'W/"{asset.etag}"', "Cache-Control": NO_CACHE}
    if unchanged(request.headers.get("if-none-match"), asset.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)


@get("/favicon.ico", opt=PUBLIC | UNLIMITED, include_in_schema=False)
async def favicon() -> Response[bytes]:
    """For browsers that show a page without an icon link. They accept the SVG by its media type, not by its name."""
    icon = ASSETS["icon.svg"]
    return Response(icon.body, media_type=icon.media_type, headers={"Cache-Control": "max-age=86400"})


def wants_html(request: Request[Any, Any, Any]) -> bool:
    """Whether the client prefers HTML to JSON, as browsers do."""
    return best(_accept(request), [HTML, "application/json"]) != "application/json"


def _accept(request: Request[Any, Any, Any]) -> str:
    return ",".join(request.headers.getall("accept", []))


def handlers() -> list[Any]:
    return [home, static, favicon]


def templates() -> TemplateConfig[JinjaTemplateEngine]:
    return TemplateConfig(directory=HERE / "templates", engine=JinjaTemplateEngine)


def _read_asset(path: Path) -> Asset:
    body = path.read_bytes()
    kind = {".js": "text/javascript"}.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    return Asset(body, kind, hashlib.sha256(body).hexdigest()[:16])


def _origin_of(url: str) -> str:
    """The origin of the pictures where `GALLERY_PUBLIC_URL` names it; else empty, for the page's own."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


ASSETS: dict[str, Asset] = {path.name: _read_asset(path) for path in sorted((HERE / "static").iterdir())}
PRELOADED_MODULES = [name for name in ASSETS if name.endswith(".js") and name not in PAGE_SCRIPTS]
