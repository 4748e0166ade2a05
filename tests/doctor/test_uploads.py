"""Checks of uploads in parts on a real S3 server, with CORS rules of its own for each bucket."""

import json
import os
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from doctor.findings import run_named_checks, verdict
from gallery.adapters.objects.s3_client import make_client
from gallery.adapters.objects.store import open_objects
from gallery.doctor.uploads import cors_rules
from gallery.settings import Settings
from s3 import create_bucket
from s3_proxy import error_answer, proxy

APP, OTHER = "https://app.example.org", "https://other.example.org"


@pytest.fixture
def bucket(s3) -> dict[str, str]:
    """The environment of a bucket for pages of `APP`."""
    name = f"browsers-{os.urandom(4).hex()}"
    create_bucket(s3, name)
    return {**s3, "S3_BUCKET": name, "CORS_ORIGIN": APP}


def set_rules(environment: dict[str, str], rules: str) -> None:
    settings = Settings.read(environment).s3
    client = make_client(settings, str(settings.bucket), settings.endpoint)
    client.put_bucket_cors(Bucket=settings.bucket, CORSConfiguration=json.loads(rules))


async def test_gallery_may_put_objects_in_parts(bucket):
    found = await run_named_checks(bucket, "parts")
    assert (found["parts"].state, found["permissions"].state) == ("well", "well")
    assert await count_unfinished(bucket) == 0


async def test_the_rules_that_the_doctor_advises_let_browsers_in(bucket):
    set_rules(bucket, cors_rules([OTHER]))
    state, text = await verdict(bucket, "browser-uploads")
    assert state == "notice"
    assert f"Pages of {APP} may not send parts to the store." in text
    advised = text[text.index("{") :]
    set_rules(bucket, advised)
    assert (await verdict(bucket, "browser-uploads"))[0] == "well"
    assert await count_unfinished(bucket) == 0


@pytest.mark.parametrize(
    ("old", "new"), [('"PUT"', '"GET"'), ('"ExposeHeaders": ["ETag"]', '"ExposeHeaders": ["Date"]')]
)
async def test_rules_without_the_method_or_the_etag_are_not_enough(bucket, old, new):
    set_rules(bucket, cors_rules([APP]).replace(old, new))
    assert (await verdict(bucket, "browser-uploads"))[0] == "notice"


async def test_a_gallery_behind_its_public_url_has_that_origin(bucket):
    set_rules(bucket, cors_rules([APP]))
    public = {**bucket, "CORS_ORIGIN": "", "GALLERY_PUBLIC_URL": f"{APP}/pictures"}
    assert (await verdict(public, "browser-uploads"))[0] == "well"
    state, text = await verdict({**public, "CORS_ORIGIN": OTHER}, "browser-uploads")
    assert (state, f"Pages of {OTHER} may not" in text) == ("notice", True), text


async def test_without_browsers_or_without_s3_nothing_is_sent(bucket, environment):
    assert (await verdict({**bucket, "CORS_ORIGIN": ""}, "browser-uploads"))[0] == "skipped"
    assert (await verdict({**environment, "CORS_ORIGIN": APP}, "browser-uploads"))[0] == "skipped"


async def test_the_address_for_clients_is_tried(bucket):
    port = urlsplit(bucket["S3_ENDPOINT"]).port
    set_rules(bucket, cors_rules([APP]))
    for url, expected in [("localhost", "well"), ("nowhere.invalid", "notice")]:
        state, text = await verdict({**bucket, "S3_PUBLIC_ENDPOINT": f"http://{url}:{port}"}, "browser-uploads")
        assert state == expected, text


async def count_unfinished(environment: dict[str, str]) -> int:
    objects = open_objects(Settings.read(environment))
    later = datetime.now(UTC) + timedelta(minutes=1)
    return sum([len(batch) async for batch in objects.multipart.list_unfinished(later)])


async def test_a_right_that_is_missing_is_named(bucket):
    async with proxy(bucket["S3_ENDPOINT"], rb"GET [^ ]*uploadId=", error_answer(403, "AccessDenied")) as (endpoint, _):
        state, text = await verdict({**bucket, "S3_ENDPOINT": endpoint}, "parts")
    assert state == "wrong"
    assert text.startswith("Gallery may not list parts: The credentials are valid but lack a permission")


async def test_a_signed_part_that_is_refused_is_wrong(bucket):
    answer = error_answer(403, "SignatureDoesNotMatch")
    async with proxy(bucket["S3_ENDPOINT"], rb"PUT [^ ]*X-Amz-Signature=", answer) as (endpoint, _):
        state, text = await verdict({**bucket, "S3_PUBLIC_ENDPOINT": endpoint}, "browser-uploads")
    assert (state, f"refuses a part with a signed URL at {endpoint} (403)" in text) == ("wrong", True), text
    assert await count_unfinished(bucket) == 0
