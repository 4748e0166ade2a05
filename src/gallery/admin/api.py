"""The HTTP API for operators. Every route needs the `admin` scope."""

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Response
from msgspec import Struct

from gallery.access.model import ADMIN, Caller
from gallery.admin import store
from gallery.admin.console import Console
from gallery.admin.image_detail import ImageDetail, ImageDetails
from gallery.admin.model import DoneView, FailureView, PauseView, QueueView
from gallery.admin.scaler import Scaler, ScaleView
from gallery.errors import InvalidField
from gallery.images.cache import ImageCache
from gallery.images.model import parse_id
from gallery.jobs.queue import FailedJob
from gallery.paging import INVALID_CURSOR, Cursor
from gallery.settings import Settings

NO_STORE = {"Cache-Control": "no-store"}
NOT_FAILED = ResponseSpec(None, description="The image is not FAILED, or was dropped before")

Code = Annotated[
    str | None,
    QueryParameter(description="Only images that failed with this code", pattern="^[a-z][a-z0-9_]*$", max_length=100),
]
Limit = Annotated[int, QueryParameter(description="Entries on a page", ge=1, le=200)]


class ClearedView(Struct, frozen=True):
    """The number of entries that were removed from the cache."""

    __schema_name__ = "ClearedCache"

    cleared: int


@get(
    "/images/{image_id:str}",
    operation_id="getImageDetails",
    summary="Read everything about an image, also a deleted one",
    responses={200: ResponseSpec(ImageDetail, description="The image as operators read it", generate_examples=False)},
)
async def image_detail(image_id: FromPath[str], image_details: NamedDependency[ImageDetails]) -> Response[ImageDetail]:
    return Response(await image_details.get(parse_id(image_id)), headers=NO_STORE)


@get("/queues/state", operation_id="getQueue", summary="Read the state of the queue")
async def queue_state(console: NamedDependency[Console]) -> Response[QueueView]:
    return Response(await console.state(), headers=NO_STORE)


@post("/queues/pause", status_code=200, operation_id="pauseQueue", summary="Pause all workers")
async def pause(console: NamedDependency[Console]) -> Response[PauseView]:
    return Response(await console.pause(), headers=NO_STORE)


@post("/queues/resume", status_code=200, operation_id="resumeQueue", summary="Resume all workers")
async def resume(console: NamedDependency[Console]) -> Response[PauseView]:
    return Response(await console.resume(), headers=NO_STORE)


# --- images that failed -----------------------------------------------------------------------------------------------


@get("/queues/failed", operation_id="listFailed", summary="List failed images, newest first")
async def failed(
    console: NamedDependency[Console],
    settings: NamedDependency[Settings],
    code: Code = None,
    cursor: Annotated[str | None, QueryParameter(description="From the Link of the page before")] = None,
    limit: Limit = 50,
) -> Response[list[FailureView]]:
    page = await console.failures(code, decode_cursor(code, cursor), limit)
    headers = dict(NO_STORE)
    if page.next is not None:
        query = {"limit": limit, "cursor": page.next.encode()} | ({"code": code} if code else {})
        headers["Link"] = f'<{settings.public_url}/admin/queues/failed?{urlencode(query)}>; rel="next"'
    return Response(list(page.items), headers=headers)


def decode_cursor(code: str | None, cursor: str | None) -> Cursor | None:
    """The start of a page of failures. Raises `InvalidField` for the cursor of another list."""
    if cursor is None:
        return None
    found = Cursor.decode(cursor)
    if found.list_fingerprint != store.cursor_query(code) or not store.is_cursor_key(found.key):
        raise InvalidField("/cursor", INVALID_CURSOR)
    return found


@post(
    "/queues/failed/{image_id:str}/retry",
    status_code=202,
    operation_id="retryFailed",
    summary="Render a failed image again",
    responses={
        202: ResponseSpec(ImageDetail, description="The image, PENDING now", generate_examples=False),
        409: NOT_FAILED,
    },
)
async def retry(
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    console: NamedDependency[Console],
    image_details: NamedDependency[ImageDetails],
) -> Response[ImageDetail]:
    await console.retry(caller, parse_id(image_id))
    return Response(await image_details.get(parse_id(image_id)), status_code=202, headers=NO_STORE)


@post("/queues/failed/retry", status_code=200, operation_id="retryAllFailed", summary="Render all failed images again")
async def retry_all(
    caller: NamedDependency[Caller], console: NamedDependency[Console], code: Code = None
) -> Response[DoneView]:
    return Response(await console.retry_all(caller, code), headers=NO_STORE)


@post(
    "/queues/failed/{image_id:str}/drop",
    status_code=200,
    operation_id="dropFailed",
    summary="Remove a failed image from this list; the image stays",
    responses={
        200: ResponseSpec(ImageDetail, description="The image as it is now", generate_examples=False),
        409: NOT_FAILED,
    },
)
async def drop(
    image_id: FromPath[str], console: NamedDependency[Console], image_details: NamedDependency[ImageDetails]
) -> Response[ImageDetail]:
    found = await image_details.get(parse_id(image_id))
    await console.drop(found.id)
    return Response(await image_details.get(found.id), headers=NO_STORE)


@post(
    "/queues/failed/drop",
    status_code=200,
    operation_id="dropAllFailed",
    summary="Remove all failed images from this list; the images stay",
)
async def drop_all(console: NamedDependency[Console], code: Code = None) -> Response[DoneView]:
    return Response(await console.drop_all(code), headers=NO_STORE)


# --- jobs that failed -------------------------------------------------------------------------------------------------


@get("/queues/jobs", operation_id="listFailedJobs", summary="List failed jobs with their stacks, newest first")
async def failed_jobs(
    console: NamedDependency[Console],
    start: Annotated[int, QueryParameter(description="Number of newer jobs to skip", ge=0, le=10_000)] = 0,
    limit: Limit = 50,
) -> Response[list[FailedJob]]:
    return Response(await console.failed_jobs(start, limit), headers=NO_STORE)


@post("/queues/jobs/{job_id:str}/retry", status_code=204, operation_id="retryJob", summary="Retry a failed job")
async def retry_job(job_id: FromPath[str], console: NamedDependency[Console]) -> None:
    await console.retry_job(job_id)


@post("/queues/jobs/retry", status_code=200, operation_id="retryAllJobs", summary="Retry all failed jobs")
async def retry_jobs(console: NamedDependency[Console]) -> Response[DoneView]:
    return Response(await console.retry_jobs(), headers=NO_STORE)


@post("/queues/jobs/{job_id:str}/drop", status_code=204, operation_id="dropJob", summary="Remove a failed job")
async def drop_job(job_id: FromPath[str], console: NamedDependency[Console]) -> None:
    await console.drop_job(job_id)


@post("/queues/jobs/drop", status_code=200, operation_id="dropAllJobs", summary="Remove all failed jobs")
async def drop_jobs(console: NamedDependency[Console]) -> Response[DoneView]:
    return Response(await console.drop_jobs(), headers=NO_STORE)


# --- the rest ---------------------------------------------------------------------------------------------------------


@get("/autoscale", operation_id="getScalingAdvice", summary="Read how many workers are needed, and why")
async def autoscale(scaler: NamedDependency[Scaler]) -> Response[ScaleView]:
    return Response(await scaler.advise(), headers=NO_STORE)


@delete("/cache", status_code=200, operation_id="clearCache", summary="Clear the cache; images and queues stay")
async def clear_cache(cache: NamedDependency[ImageCache]) -> Response[ClearedView]:
    return Response(ClearedView(await cache.clear()), headers=NO_STORE)


def router() -> Router:
    handlers: list[Any] = [image_detail, queue_state, pause, resume, autoscale, clear_cache]
    handlers += [failed, retry, retry_all, drop, drop_all]
    handlers += [failed_jobs, retry_job, retry_jobs, drop_job, drop_jobs]
    return Router("/admin", route_handlers=handlers, tags=["administration"], opt=ADMIN)
