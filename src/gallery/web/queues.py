"""The queue's page for operators, rendered whole by us; its script only fetches it anew and sends what is clicked."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect, Response, Template

from gallery import __version__
from gallery.access.model import ADMINISTERS, LETS_IN
from gallery.access.service import Access
from gallery.admin.api import NO_STORE, Code, after
from gallery.admin.console import Console
from gallery.admin.model import MinuteView
from gallery.admin.scaler import Scaler
from gallery.errors import GalleryError, ScopeMissing, Unauthorized
from gallery.web import problems
from gallery.web.pages import policy, wants_html

PAGE = 25  # failures on one page
HIGH = 72  # of the sparkline, in units of its own
WIDE = 10  # of one of its minutes
SAFE = {"Content-Security-Policy": policy(), "Vary": "Accept", **NO_STORE}

Handled = Request[Any, Any, Any]


@get("/admin", opt=LETS_IN, include_in_schema=False)
async def front() -> Redirect:
    return Redirect("/admin/queues", status_code=307)


def ask_for_credentials(request: Handled, error: GalleryError) -> Response[Any]:
    """A browser is shown how to sign in; a program is told as everywhere."""
    if not wants_html(request):
        return problems.of_gallery(request, error)
    context = {"sentence": error.sentence(), "known": isinstance(error, ScopeMissing)}
    return Template("queues_signin.html", context=context, status_code=problems.status_of(error), headers=SAFE)


@get(
    "/admin/queues",
    opt=ADMINISTERS,
    include_in_schema=False,
    exception_handlers={Unauthorized: ask_for_credentials, ScopeMissing: ask_for_credentials},
)
async def page(
    request: Handled,
    access: NamedDependency[Access],
    console: NamedDependency[Console],
    scaler: NamedDependency[Scaler],
    code: Code = None,
    cursor: Annotated[str | None, QueryParameter()] = None,
) -> Response[Any]:
    queue = await console.look()
    if not wants_html(request):
        return Response(queue, headers={"Vary": "Accept", **NO_STORE})
    context = {
        "version": __version__,
        "closed": not access.open,
        "queue": queue,
        "failures": await console.failures(code, after(code, cursor), PAGE),
        "bugs": await console.bugs(0, PAGE) if queue.bugs else [],
        "advice": await scaler.advise(),
        "code": code,
        "cursor": cursor,
        "bars": bars(queue.throughput),
        "size": (WIDE * len(queue.throughput), HIGH),
        "span": span,
        "ago": partial(_ago, queue.at),
        "clock": "{:%H:%M:%S}".format,
    }
    return Template("queues.html", context=context, headers=SAFE)


def bars(throughput: list[MinuteView]) -> list[dict[str, Any]]:
    """Each minute as a bar, the failed ones standing on the ready ones; the highest is as high as the picture."""
    unit = HIGH / max([1, *(minute.ready + minute.failed for minute in throughput)])
    return [
        {
            "x": WIDE * number,
            "minute": minute,
            "ready": round(minute.ready * unit, 1),
            "failed": round(minute.failed * unit, 1),
        }
        for number, minute in enumerate(throughput)
    ]


def span(seconds: float) -> str:
    """A time in the two units that tell most of it."""
    whole = max(0, int(seconds))
    for size, unit, smaller, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {small_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def _ago(now: datetime, at: datetime) -> str:
    return span((now - at).total_seconds())
