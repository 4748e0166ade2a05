"""The blocking calls of S3's multipart uploads. They raise `OSError`: `FileNotFoundError` if an upload is gone."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import IO, Any

from botocore.exceptions import ClientError

from gallery.adapters.objects.content import DownloadHeaders, attributes, content_size
from gallery.adapters.objects.parts import PartRequest, StoredPart, UnfinishedUpload
from gallery.adapters.objects.s3_client import error_code, make_client, translate_s3_errors
from gallery.errors import PartsMissing
from gallery.settings import S3Settings

MD5_DIGITS = 32
MISSING_CODES = {"InvalidPart", "InvalidPartOrder"}


class S3Calls:
    """Of one bucket, below a prefix; `endpoint` is that of obstore, with the bucket where it is in the host name."""

    def __init__(self, s3: S3Settings, bucket: str, prefix: str, endpoint: str | None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = make_client(s3, bucket, endpoint)
        self._public_client = make_client(s3, bucket, s3.public_endpoint) if s3.public_endpoint else self._client

    def begin(self, key: str, headers: DownloadHeaders | None) -> str:
        more = {name.replace("-", ""): value for name, value in (attributes(headers) or {}).items()}
        with translate_s3_errors():
            return str(self._client.create_multipart_upload(**self._object(key), **more)["UploadId"])

    def put_part(self, key: str, handle: str, number: int, start: int, content: IO[bytes] | bytes) -> StoredPart:
        size = content_size(content)
        with translate_s3_errors():
            answer = self._client.upload_part(
                **self._upload(key, handle), PartNumber=number, Body=content, ContentLength=size
            )
        return StoredPart(number, start, size, answer["ETag"].strip('"'))

    def list_parts(self, key: str, handle: str) -> list[StoredPart]:
        """SeaweedFS lists a part that was sent again twice: the one that came last counts."""
        newest: dict[int, dict[str, Any]] = {}
        with translate_s3_errors():
            for page in self._client.get_paginator("list_parts").paginate(**self._upload(key, handle)):
                for found in page.get("Parts", []):
                    earlier = newest.setdefault(found["PartNumber"], found)
                    newest[found["PartNumber"]] = max(earlier, found, key=itemgetter("LastModified"))
        parts: list[StoredPart] = []
        end = 0
        for number, found in sorted(newest.items()):
            parts.append(StoredPart(number, end, found["Size"], found["ETag"].strip('"')))
            end += found["Size"]
        return parts

    def complete(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None:
        """Raises `PartsMissing`; `FileExistsError` for a key with another object."""
        if self._is_completed(key, parts):
            self.abort(key, handle)  # in case that another upload brought the same bytes
            return
        try:
            self._complete(key, handle, parts)
        except (FileNotFoundError, FileExistsError):  # another request has completed it meanwhile, or it is gone
            if not self._is_completed(key, parts):
                raise

    def abort(self, key: str, handle: str) -> None:
        with suppress(FileNotFoundError), translate_s3_errors():
            self._client.abort_multipart_upload(**self._upload(key, handle))

    def sign_part(self, key: str, handle: str, number: int, size: int, expires: timedelta) -> PartRequest:
        with translate_s3_errors():
            url = self._public_client.generate_presigned_url(
                "upload_part",
                {**self._upload(key, handle), "PartNumber": number, "ContentLength": size},
                ExpiresIn=round(expires.total_seconds()),
            )
        return PartRequest(url, "PUT", {})

    def list_unfinished(self, before: datetime) -> Iterator[list[UnfinishedUpload]]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with translate_s3_errors():
            for page in pages:
                yield [
                    UnfinishedUpload(found["Key"].removeprefix(self._prefix), found["UploadId"], found["Initiated"])
                    for found in page.get("Uploads", [])
                    if found["Initiated"] < before
                ]

    def _complete(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None:
        entries = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        complete = partial(
            self._client.complete_multipart_upload, **self._upload(key, handle), MultipartUpload={"Parts": entries}
        )
        try:
            with translate_s3_errors():
                complete(IfNoneMatch="*")
        except OSError as error:
            if _code(error) in MISSING_CODES:
                raise PartsMissing(missing="parts, or they have been sent again", cause=str(error)) from error
            if _code(error) != "NotImplemented":
                raise
            with translate_s3_errors():  # a server that has no such condition, but was asked whether the key is free
                complete()

    def _is_completed(self, key: str, parts: Sequence[StoredPart]) -> bool:
        """Whether the object is there already. Raises `FileExistsError` if it is not made of these parts.

        The ETag of such an object is made of those of its parts. With some encryptions these are no MD5: then only the
        number of parts and the size are compared.
        """
        try:
            with translate_s3_errors():
                found = self._client.head_object(**self._object(key))
        except FileNotFoundError:
            return False
        etag = found["ETag"].strip('"')
        expected = _joined_etag(parts)
        same = etag == expected if expected else etag.endswith(f"-{len(parts)}")
        if not same or found["ContentLength"] != sum(part.size for part in parts):
            raise FileExistsError(key)
        return True

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{key}"}

    def _upload(self, key: str, handle: str) -> dict[str, str]:
        return {**self._object(key), "UploadId": handle}


def _joined_etag(parts: Sequence[StoredPart]) -> str | None:
    """The ETag of an object made of these parts; `None` if theirs are no MD5."""
    if any(len(part.etag) != MD5_DIGITS for part in parts):
        return None
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _code(error: OSError) -> str:
    return error_code(error.__cause__) if isinstance(error.__cause__, ClientError) else ""
