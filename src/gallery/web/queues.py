"""The queue's page for operators, rendered on the server. Its script fetches it again and sends the clicked action."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect, Response, Template

from gallery import __version__
from gallery.access.model import ADMIN, PUBLIC
from gallery.access.service import Access
from gallery.admin.api import NO_STORE, Code, decode_cursor
from gallery.admin.console import Console
from gallery.admin.model import MinuteView
from gallery.admin.scaler import Scaler
from gallery.errors import GalleryError, ScopeMissing, Unauthorized
from gallery.web import problems
from gallery.web.pages import content_security_policy, wants_html

PAGE_SIZE = 25  # failures on one page
CHART_HEIGHT = 72  # in units of the SVG
BAR_WIDTH = 10  # of one minute
HTML_HEADERS = {"Content-Security-Policy": content_security_policy(), "Vary": "Accept", **NO_STORE}

HTTPRequest = Request[Any, Any, Any]


@get("/admin", opt=PUBLIC, include_in_schema=False)
async def redirect_to_queues() -> Redirect:
    return Redirect("/admin/queues", status_code=307)


def ask_for_credentials(request: HTTPRequest, error: GalleryError) -> Response[Any]:
    """A browser gets a page to sign in; a program gets the problem, as on every other path."""
    if not wants_html(request):
        return problems.from_gallery_error(request, error)
    context = {"sentence": error.sentence(), "known": isinstance(error, ScopeMissing)}
    return Template("queues_signin.html", context=context, status_code=problems.status_of(error), headers=HTML_HEADERS)


@get(
    "/admin/queues",
    opt=ADMIN,
    include_in_schema=False,
    exception_handlers={Unauthorized: ask_for_credentials, ScopeMissing: ask_for_credentials},
)
async def queues_page(
    request: HTTPRequest,
    access: NamedDependency[Access],
    console: NamedDependency[Console],
    scaler: NamedDependency[Scaler],
    code: Code = None,
    cursor: Annotated[str | None, QueryParameter()] = None,
) -> Response[Any]:
    queue = await console.state()
    if not wants_html(request):
        return Response(queue, headers={"Vary": "Accept", **NO_STORE})
    context = {
        "version": __version__,
        "closed": not access.open,
        "queue": queue,
        "failures": await console.failures(code, decode_cursor(code, cursor), PAGE_SIZE),
        "bugs": await console.failed_jobs(0, PAGE_SIZE) if queue.bugs else [],
        "advice": await scaler.advise(),
        "code": code,
        "cursor": cursor,
        "bars": bars(queue.throughput),
        "size": (BAR_WIDTH * len(queue.throughput), CHART_HEIGHT),
        "span": format_duration,
        "ago": partial(_format_age, queue.at),
        "clock": "{:%H:%M:%S}".format,
    }
    return Template("queues.html", context=context, headers=HTML_HEADERS)


def bars(throughput: list[MinuteView]) -> list[dict[str, Any]]:
    """Each minute as a bar, failed images above ready ones; the highest bar is as high as the chart."""
    unit = CHART_HEIGHT / max([1, *(minute.ready + minute.failed for minute in throughput)])
    return [
        {
            "x": BAR_WIDTH * number,
            "minute": minute,
            "ready": round(minute.ready * unit, 1),
            "failed": round(minute.failed * unit, 1),
        }
        for number, minute in enumerate(throughput)
    ]


def format_duration(seconds: float) -> str:
    """A duration in its two largest units, e.g. `2 h 5 min`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {small_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def _format_age(now: datetime, at: datetime) -> str:
    return format_duration((now - at).total_seconds())
