"""The object store's errors, translated into sentences; and the creation of a bucket."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import httpx
import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import GCSStore, S3Store

from gallery.adapters.objects.open import CloudClient, s3_store, short_message
from gallery.errors import BucketMissing, CannotStart, ObjectStoreUnavailable, describe_error
from gallery.settings import S3Settings

log = structlog.get_logger(__name__)

CREATE_BUCKET_XML = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
)
DEFAULT_REGION = "us-east-1"  # S3 refuses this one as a LocationConstraint


class StoreFailure(NamedTuple):
    """The reason of a failure; waiting does not help against a `permanent` one."""

    sentence: str
    permanent: bool


NO_BUCKET_PATTERN = r"NoSuchBucket|BucketNotFound|ContainerNotFound|The specified bucket does not exist"
FAILURE_PATTERNS = (  # the first match counts
    (NO_BUCKET_PATTERN, "The bucket does not exist.", False),
    (r"InvalidAccessKeyId", "The access key is unknown: check S3_ACCESS_KEY.", True),
    (r"SignatureDoesNotMatch", "The secret key does not belong to the access key: check S3_SECRET_KEY.", True),
    (r"ExpiredToken|InvalidToken|TokenRefreshRequired", "The session's token has expired or is not valid.", True),
    (r"RequestTimeTooSkewed", "This machine's clock is wrong by more than the store accepts: set it.", False),
    (
        r"AuthorizationHeaderMalformed|PermanentRedirect|IllegalLocationConstraint|Moved Permanently|redirect",
        "The bucket is in another region: check S3_REGION.",
        True,
    ),
    (
        r"AccessDenied|AllAccessDisabled|lacked the necessary privileges",
        "The credentials are valid but lack a permission: allow them to read, write, list and delete objects.",
        True,
    ),
    (r"lacked valid auth|Unauthenticated", "The credentials are not valid.", True),
    (
        r"169\.254\.|metadata endpoint|metadata\.google|Failed to get .*credential|Unable to locate credentials",
        "There are no credentials: set S3_ACCESS_KEY and S3_SECRET_KEY, or give this machine a role.",
        False,
    ),
    (r"dns error|failed to lookup", "The endpoint's name is unknown: check S3_ENDPOINT.", False),
    (r"ConnectionRefused|Connection refused", "Nothing listens at the endpoint: check S3_ENDPOINT.", False),
    (r"certificate|InvalidCertificate", "The endpoint's TLS certificate is not valid for this machine.", True),
    (
        r"timed out|TimedOut|TimeoutError|operation timed out|[Tt]imeout on endpoint",
        "The endpoint did not answer in time.",
        False,
    ),
    (r"error sending request", "The endpoint cannot be reached: check S3_ENDPOINT.", False),
    (r"No space left", "The disk is full.", False),
    (r"Permission denied|Read-only file system", "This user may not write to the directory.", True),
)


def classify(error: BaseException) -> StoreFailure:
    text = f"{error!r} {error}"
    for pattern, sentence, permanent in FAILURE_PATTERNS:
        if re.search(pattern, text):
            return StoreFailure(sentence, permanent)
    return StoreFailure(f"{short_message(error) or describe_error(error)}", permanent=False)


@contextmanager
def translate_startup_errors(location: str) -> Iterator[None]:
    """At startup: an error that waiting may mend stays `ObjectStoreUnavailable`, another is `CannotStart`.

    Raises `BucketMissing`, `CannotStart`, `ObjectStoreUnavailable`.
    """
    try:
        yield
    except (BaseError, OSError, TimeoutError) as error:
        failure = classify(error)
        if is_bucket_missing(error):
            raise BucketMissing(location=location) from error
        if failure.permanent:
            raise CannotStart(f"The object store, {location}, cannot be used. {failure.sentence}") from error
        raise ObjectStoreUnavailable(location=location, cause=failure.sentence) from error


def is_bucket_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) and re.search(NO_BUCKET_PATTERN, str(error)) is not None


def describe(store: CloudClient) -> str:
    """The store's location, for people."""
    path = f"/{store.prefix}" if store.prefix else ""
    if isinstance(store, S3Store):
        endpoint = store.config.get("endpoint")
        return f"the bucket {store.config['bucket']}{path}" + (f" at {endpoint}" if endpoint else "")
    if isinstance(store, GCSStore):
        return f"the bucket {store.config['bucket']}{path} of GCS"
    return f"the container {store.config['container_name']}{path} of Azure"


async def create_bucket(s3: S3Settings, bucket: str) -> None:
    """Create a bucket; one that exists already is no error. Raises `ObjectStoreUnavailable`."""
    url = await obstore.sign_async(s3_store(s3, bucket), "PUT", "", timedelta(minutes=1))
    body = "" if s3.region == DEFAULT_REGION else CREATE_BUCKET_XML.format(s3.region)
    try:
        async with httpx.AsyncClient(timeout=s3.timeout) as client:
            answer = await client.put(url, content=body)
    except httpx.HTTPError as error:
        raise ObjectStoreUnavailable(
            cause=f"the bucket {bucket} is missing and could not be created: {describe_error(error)}"
        ) from error
    if answer.is_success:
        log.info("objects.bucket_made", bucket=bucket, region=s3.region)
    elif "BucketAlreadyOwnedByYou" not in answer.text:
        raise ObjectStoreUnavailable(
            cause=f"the bucket {bucket} is missing and Gallery may not create it ({_error_code(answer)})"
        )


def _error_code(answer: httpx.Response) -> str:
    found = re.search(r"<Code>(\w+)</Code>", answer.text)
    return found[1] if found else str(answer.status_code)
