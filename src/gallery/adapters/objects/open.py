"""The object store that the settings name: a directory, a bucket of S3 (or a compatible server) or GCS, or Azure.

Without keys in the settings, credentials are found as each cloud does it: environment variables, the role of a
container or an instance, a workload identity. With keys in the settings, AWS's variables are ignored.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit, urlunsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from gallery.errors import CannotStart
from gallery.local_disk import permissions
from gallery.masking import masked_url
from gallery.settings import S3Settings, Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig  # types only: they do not exist at run time

CloudClient: TypeAlias = S3Store | GCSStore | AzureStore
StoreTarget: TypeAlias = CloudClient | Path  # a directory


def make_store(settings: Settings) -> StoreTarget:
    """Raises `CannotStart`."""
    if settings.objects.url is not None:
        if settings.s3.bucket is not None:
            raise CannotStart("GALLERY_OBJECTS__URL and S3_BUCKET are both set: set only one of them.")
        return store_at(settings.objects.url, settings.s3)
    if settings.s3.bucket is not None:
        return s3_store(settings.s3, settings.s3.bucket)
    if settings.s3.endpoint is not None:
        raise CannotStart("S3_ENDPOINT is set without S3_BUCKET: set S3_BUCKET to the bucket that holds the objects.")
    return _prepare_directory(str(settings.data_path / "objects"))


def store_at(url: str, s3: S3Settings) -> StoreTarget:
    """The store at a URL such as `s3://bucket/path`. Raises `CannotStart`."""
    parts = urlsplit(url)
    if "@" in parts.netloc:  # a library would read it as the bucket's name
        raise CannotStart(f"{masked_url(url)} holds a credential: set S3_ACCESS_KEY and S3_SECRET_KEY instead.")
    prefix = parts.path.strip("/") or None
    try:
        match parts.scheme:
            case "s3" if parts.netloc:
                return s3_store(s3, parts.netloc, prefix)
            case "gs" if parts.netloc:
                return GCSStore(
                    parts.netloc, prefix=prefix, client_options=_client_options(s3), retry_config=_retry_options(s3)
                )
            case "az" if parts.netloc:
                return AzureStore(
                    parts.netloc, prefix=prefix, client_options=_client_options(s3), retry_config=_retry_options(s3)
                )
            case "file" if not parts.netloc:
                return _prepare_directory(unquote(parts.path))
    except BaseError as error:
        raise CannotStart(f"The object store {url} cannot be used: {short_message(error)}") from error
    raise CannotStart(
        f"{url} is not an object store URL: use s3://bucket, gs://bucket, az://container or file:///directory."
    )


def s3_store(s3: S3Settings, bucket: str, prefix: str | None = None) -> S3Store:
    virtual = not path_style(s3)
    given: dict[str, Any] = {
        "endpoint": _with_bucket(s3.endpoint, bucket) if s3.endpoint and virtual else s3.endpoint,
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "checksum_algorithm": s3.checksum or None,
    }
    with _without_environment("AWS_") if s3.access_key else nullcontext():
        return S3Store(
            bucket,
            prefix=prefix,
            region=s3.region,
            virtual_hosted_style_request=virtual,
            client_options=_client_options(s3),
            retry_config=_retry_options(s3),
            **{name: value for name, value in given.items() if value is not None},
        )


def short_message(error: BaseException) -> str:
    """The message of the store's library without its debug part."""
    return str(error).partition("\n\nDebug source")[0].strip()


@contextmanager
def _without_environment(prefix: str) -> Iterator[None]:
    """The library reads its settings from the environment too, when a store is made.

    Next to keys from Gallery's settings, a session token or a switch of the user's own would change the identity.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(prefix)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def path_style(s3: S3Settings) -> bool:
    return s3.endpoint is not None if s3.path_style is None else s3.path_style


def _with_bucket(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    if parts.netloc.startswith(f"{bucket}."):
        return endpoint
    return urlunsplit(parts._replace(netloc=f"{bucket}.{parts.netloc}"))


def _prepare_directory(path: str) -> Path:
    permissions.prepare_folder(Path(path))
    return Path(path).resolve()  # one path for a folder, through any links


def _client_options(s3: S3Settings) -> "ClientConfig":
    return {
        "timeout": timedelta(seconds=s3.timeout),
        "connect_timeout": timedelta(seconds=min(5, s3.timeout)),
        "allow_http": (s3.endpoint or "").startswith("http://"),
    }


def _retry_options(s3: S3Settings) -> "RetryConfig":
    return {"max_retries": 2, "retry_timeout": timedelta(seconds=s3.timeout)}
