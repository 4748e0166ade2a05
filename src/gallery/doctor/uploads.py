"""Checks of uploads in parts: Gallery's rights in the store, and whether browsers may send parts to it themselves."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx

from gallery.adapters.objects.parts import PartRequest
from gallery.doctor.model import CheckContext, Verdict, notice, skipped, well, wrong
from gallery.doctor.store import get_objects
from gallery.errors import GalleryError, describe_error
from gallery.settings import Settings, parse_origins

PROBE = b"probe"
REQUEST_TIMEOUT_SECONDS = 4


async def parts(context: CheckContext) -> Verdict:
    """Completes a small upload in parts, and aborts another."""
    objects = get_objects(context)
    multipart, key = objects.multipart, f"doctor/{uuid.uuid4()}"
    action = "put objects in parts"
    try:
        handle, other = await multipart.begin(key), await multipart.begin(key)
        await multipart.put_part(key, handle, 1, 0, PROBE)
        action = "list parts"
        await multipart.complete(key, handle, await multipart.list_parts(key, handle))
        await objects.delete([key])
        action = "abort uploads in parts"
        await multipart.abort(key, other)
        action = "list unfinished uploads"
        _ = [batch async for batch in multipart.list_unfinished(datetime.now(UTC))]
    except GalleryError as error:
        return wrong(
            f"Gallery may not {action}: {error.facts.get('cause', error)}", "Grant the key or role that right."
        )
    return well("Gallery may put, list and abort objects in parts.")


async def browsers(context: CheckContext) -> Verdict:
    """Sends a part as a browser does: a preflight, then a PUT whose `ETag` a page can read. Needs no right to read the
    bucket's rules, which some servers have none of.
    """
    multipart, key = get_objects(context).multipart, f"doctor/{uuid.uuid4()}"
    origins = _origins(context.settings)
    if not multipart.can_sign:
        return skipped("clients send all parts through Gallery here")
    if not origins:
        return skipped("neither CORS_ORIGIN nor GALLERY_PUBLIC_URL is set")
    handle = await multipart.begin(key)
    try:
        signed = await multipart.sign_part(key, handle, 1, len(PROBE), timedelta(minutes=1))
        assert signed is not None, "this store can sign"  # noqa: S101
        return await _send_from(origins, signed)
    finally:
        await multipart.abort(key, handle)


async def _send_from(origins: list[str], signed: PartRequest) -> Verdict:
    server = "{0.scheme}://{0.netloc}".format(urlsplit(signed.url))
    refused = []
    try:
        async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS) as client:
            for origin in origins:
                answer = await client.put(signed.url, content=PROBE, headers={"Origin": origin})
                if not answer.is_success:
                    return wrong(
                        f"The store refuses a part with a signed URL at {server} ({answer.status_code}).",
                        "Check S3_PUBLIC_ENDPOINT; a proxy must pass on the Host header as clients send it.",
                    )
                if not (_shows_etag(answer, origin) and await _passes_preflight(client, signed.url, origin)):
                    refused.append(origin)
    except httpx.HTTPError as error:
        return notice(
            f"The store's address for clients, {server}, cannot be reached from here: {describe_error(error)}.",
            "Check S3_PUBLIC_ENDPOINT, and the CORS rules by an upload from a browser.",
        )
    if refused:
        return notice(
            f"Pages of {', '.join(refused)} may not send parts to the store.",
            "Only for direct uploads from browsers: give the bucket, or a server that has none of its own for each "
            f"bucket, the CORS rules {cors_rules(origins)}",
            refused=refused,
        )
    return well(f"Pages of {', '.join(origins)} may send parts to the store.")


def cors_rules(origins: list[str]) -> str:
    """The rules as `aws s3api put-bucket-cors --cors-configuration` takes them."""
    rule = {
        "AllowedOrigins": origins,
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }
    return json.dumps({"CORSRules": [rule]})


def _origins(settings: Settings) -> list[str]:
    """The origins of the pages that use this Gallery; `*` for all."""
    allowed = set(parse_origins(settings.cors_origin))
    if "*" not in allowed and settings.public_url:
        allowed.add("{0.scheme}://{0.netloc}".format(urlsplit(settings.public_url)))
    return sorted(allowed)


async def _passes_preflight(client: httpx.AsyncClient, url: str, origin: str) -> bool:
    """A browser asks before a PUT, and for the header that it sets when the part is a whole file of a known type."""
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    answer = await client.options(url, headers={"Origin": origin, **asks})
    return (
        answer.is_success
        and _allows_origin(answer, origin)
        and _names(answer, "Access-Control-Allow-Methods", "PUT")
        and _names(answer, "Access-Control-Allow-Headers", "content-type")
    )


def _shows_etag(answer: httpx.Response, origin: str) -> bool:
    return _allows_origin(answer, origin) and _names(answer, "Access-Control-Expose-Headers", "ETag")


def _allows_origin(answer: httpx.Response, origin: str) -> bool:
    return answer.headers.get("Access-Control-Allow-Origin") in {origin, "*"}


def _names(answer: httpx.Response, header: str, word: str) -> bool:
    words = {found.strip().lower() for found in answer.headers.get(header, "").split(",")}
    return not words.isdisjoint({word.lower(), "*"})
