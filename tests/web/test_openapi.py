"""The API conforms to its document: for requests that the document allows, and for those that it does not."""

import asyncio
import json
import re
from collections import Counter
from datetime import timedelta

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument, Unsatisfiable
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import photos
from factories import post
from gallery.images.openapi import PICTURE_TYPES
from gallery.web.catalogue import catalogue
from gallery.web.openapi_errors import SCHEMA_PREFIX, response_of
from gallery.web.openapi_examples import EXAMPLES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
RAW_TYPES = (*PICTURE_TYPES, "application/octet-stream")
STREAMING = {"streamEvents"}  # see test_the_stream_is_as_described
GENERATOR_SETTINGS = settings(
    max_examples=12,
    deadline=timedelta(seconds=10),
    derandomize=False,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


async def the_document(client: httpx.AsyncClient) -> dict:
    answer = await client.get("/api/openapi.json")
    assert answer.headers["content-type"].partition(";")[0] in ("application/json", "application/vnd.oai.openapi+json")
    return answer.json()


async def test_the_document_is_valid(client):
    document = await the_document(client)
    assert document["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


async def test_operations_that_take_upload_tickets_say_so(client):
    document = await the_document(client)
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    by_ticket = {o["operationId"] for o in operations if {"uploadTicket": []} in o.get("security", [])}
    assert {"uploadImage", "checkFiles", "listImages", "getImage", "getOriginal", "streamEvents"} <= by_ticket
    assert not {"createUploadTicket", "revokeUploadTicket", "editImage", "signLinks", "deleteImage"} & by_ticket
    assert {"bearer": []} in document["paths"]["/api/v1/images"]["get"]["security"]


async def test_every_operation_has_a_name_and_documents_its_errors(client):
    document = await the_document(client)
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = Counter(operation["operationId"] for operation in operations)
    assert set(names.values()) == {1}
    for operation in operations:
        name = operation["operationId"]
        assert operation["summary"]
        assert re.fullmatch("[a-z]+([A-Z][a-z]+)*", name)
        assert "default" in operation["responses"]
        for status, answer in operation["responses"].items():
            described = response_of(document, answer)
            assert described["description"], (name, status)
            if (status >= "400" or status == "default") and (name, status) != ("getReadiness", "503"):
                assert list(described["content"]) == ["application/problem+json"], (name, status)
                assert described["content"]["application/problem+json"]["schema"] == {"$ref": SCHEMA_PREFIX + "Problem"}


async def test_the_names_read_well_in_generated_code(client):
    """A generated function takes `imageId`, and returns an `Image`."""
    document = await the_document(client)
    schemas = document["components"]["schemas"]
    assert {"Image", "UploadedImage", "Event", "Problem", "FieldError", "Rendition", "SignedLinks"} <= set(schemas)
    assert [name for name in schemas if name.endswith("View")] == []
    assert {name for name, schema in schemas.items() if schema.get("title", name) != name} == set()
    assert "/api/v1/images/{imageId}/{file}" in document["paths"]
    assert [path for path in document["paths"] if re.search(r"{[^}]*_", path)] == []


async def test_bytes_are_marked_for_generators_of_both_versions(client):
    document = await the_document(client)
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    messages = [m for o in operations for m in (o.get("requestBody", {}), *o["responses"].values())]
    media = [(name, value) for message in messages for name, value in message.get("content", {}).items()]
    assert [name for name, _ in media if "*" in name] == []
    raw = [(name, value["schema"]) for name, value in media if name.startswith("image/") or "octet" in name]
    assert len(raw) > 20
    for name, schema in raw:
        expected = name.replace("offset+", "")
        assert schema == {"type": "string", "format": "binary", "contentMediaType": expected}
    upload = document["paths"]["/api/v1/images"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert upload["properties"]["file"]["format"] == "binary"
    assert upload["properties"]["file"]["contentMediaType"] == "application/octet-stream"


async def test_each_body_has_an_example_that_is_valid(client):
    document = await the_document(client)
    operations = [(path, o) for path, item in document["paths"].items() for o in item.values()]
    seen = set()
    for path, operation in operations:
        for message in (operation.get("requestBody", {}), *operation["responses"].values()):
            media = message.get("content", {}).get("application/json")
            if media and path.startswith(("/api", "/health", "/livez", "/readyz")):
                check(document, media["schema"], media["example"])
                seen.add(operation["operationId"])
    assert {"uploadImage", "listImages", "getImage", "editImage", "checkFiles", "createUploadTicket"} <= seen
    check(document, {"$ref": SCHEMA_PREFIX + "Event"}, EXAMPLES["Event"])
    problems = [
        example["value"]
        for response in document["components"]["responses"].values()
        for example in response["content"]["application/problem+json"].get("examples", {}).values()
    ]
    assert {problem["code"] for problem in problems} >= {"image_not_found", "invalid_field", "too_many_requests"}
    for problem in problems:
        check(document, {"$ref": SCHEMA_PREFIX + "Problem"}, problem)
    assert {e.code for e in catalogue()} >= {problem["code"] for problem in problems}


def check(document, schema, example) -> None:
    """Also that no field is unknown: an example with a field that has gone would be valid else."""
    closed = json.loads(json.dumps(document["components"]["schemas"]))
    for one in closed.values():
        if "properties" in one:
            one["additionalProperties"] = False
    OAS31Validator({**schema, "components": {"schemas": closed}}).validate(example)


@pytest.mark.timeout(360)
async def test_the_api_conforms_to_its_document(client, processing):
    """Without `default`, which allows any error: each possible status is documented."""
    ids = []
    for number in range(3):
        image = (await post(client, photos.a_jpeg(64, 48, seed=number))).json()["id"]
        await processing.process(image)
        ids.append(image)
    document = await the_document(client)
    for item in document["paths"].values():
        for operation in item.values():
            del operation["responses"]["default"]
    schema = schemathesis.openapi.from_dict(document)
    sent: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.definition.raw["operationId"] not in STREAMING:
            await asyncio.to_thread(send_generated, operation, str(client.base_url), ids, sent)
    assert len(sent) >= 11
    assert min(sent.values()) >= 1, sent


def send_generated(operation, url: str, ids: list[str], sent_counts: Counter[str]) -> None:
    """Some dozen requests, right ones and wrong ones, half of them about images that there are."""
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        cases = operation.as_strategy(generation_mode=mode)
        strategy = st.tuples(cases, st.sampled_from([*ids, None]), st.integers(0, 9))
        try:
            send_all(strategy, url, valid=mode is GenerationMode.POSITIVE, sent_counts=sent_counts)
        except (InvalidArgument, Unsatisfiable):
            assert mode is GenerationMode.NEGATIVE, "an operation without parameters has no invalid requests"


def send_all(strategy, url: str, *, valid: bool, sent_counts: Counter[str]) -> None:
    @seed(20261123)
    @GENERATOR_SETTINGS
    @given(strategy)
    def once(drawn):
        case, image, photo = drawn
        if image and valid and "imageId" in (case.path_parameters or {}):
            case.path_parameters["imageId"] = image
        if photo < 6 and isinstance(case.body, dict) and "file" in case.body:
            case.body["file"] = photos.a_jpeg(32, 24, seed=photo)
        elif photo < 6 and case.media_type in RAW_TYPES:
            case.body = photos.a_jpeg(32, 24, seed=photo)
        response = case.call(base_url=url, timeout=20)
        sent_counts[case.operation.label] += 1
        case.validate_response(response, checks=CHECKS)

    once()


async def test_each_body_of_an_upload_works_with_the_documented_examples(client):
    operation = (await the_document(client))["paths"]["/api/v1/images"]["post"]
    assert list(operation["requestBody"]["content"]) == ["multipart/form-data", *RAW_TYPES]
    examples = {p["name"]: p["examples"]["example"]["value"] for p in operation["parameters"] if "examples" in p}
    digest = examples.pop("Repr-Digest")
    disposition = {"Content-Disposition": examples.pop("Content-Disposition")}
    answers = [await post(client, photos.a_jpeg(32, 24, seed=7), **examples)]
    for seed_, media_type in enumerate(RAW_TYPES):
        headers, photo = {**disposition, "Content-Type": media_type}, photos.a_jpeg(32, 24, seed=seed_)
        answers.append(await client.post("/api/v1/images", params=examples, content=photo, headers=headers))
        assert answers[-1].json()["originalName"] == "Zürich.jpg"
        refused = await client.post("/api/v1/images", content=photo, headers={**headers, "Repr-Digest": digest})
        assert refused.json()["code"] == "digest_mismatch", "valid, but that of another file"
    for answer in answers:
        image = answer.json()
        assert answer.status_code == 201
        assert (image["title"], image["alt"], image["tags"]) == ("Lake", "A lake at dawn", ["lake", "summer"])
        assert image["focus"] == {"x": 0.5, "y": 0.4}


async def test_the_stream_is_as_described(client):
    """A stream never ends, so it has a test of its own: for its head, and for its refusals."""
    operation = (await the_document(client))["paths"]["/api/v1/notifications/stream"]["get"]
    async with client.stream("GET", "/api/v1/notifications/stream") as answer:
        assert str(answer.status_code) in operation["responses"]
        assert answer.headers["content-type"].partition(";")[0] in operation["responses"]["200"]["content"]
    for query in ("types=x", "imageId=x"):
        answer = await client.get(f"/api/v1/notifications/stream?{query}")
        assert str(answer.status_code) in operation["responses"]
        assert json.loads(answer.content)["code"] == "invalid_field"
