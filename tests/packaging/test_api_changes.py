"""The check of the API against the last release: each kind of break is found, and each compatible change passes."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from api_changes import breaks
from check_api import ADVICE, BASELINE, ROOT

Json = dict[str, Any]
PHOTOS, PHOTO = "/photos", "/photos/{photoId}"


def a_document() -> Json:
    """Of a small API: a list with a filter, an upload, a read."""
    photo = {
        "type": "object",
        "required": ["id", "status", "width", "taken"],
        "properties": {
            "id": {"type": "string"},
            "status": {"$ref": "#/components/schemas/Status"},
            "width": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
            "taken": {"type": "string", "format": "date-time"},
            "note": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "exif": {"type": "object", "additionalProperties": {"type": "string"}},
            "next": {"oneOf": [{"$ref": "#/components/schemas/Photo"}, {"type": "null"}]},
        },
    }
    new_photo = {
        "type": "object",
        "required": ["title"],
        "properties": {
            "title": {"type": "string", "maxLength": 120, "minLength": 1},
            "note": {"type": ["string", "null"]},
            "rating": {"type": "number", "minimum": 0, "maximum": 5},
            "lane": {"type": "string", "enum": ["bulk", "interactive"]},
        },
    }
    problem = {"description": "An error", "content": {"application/problem+json": {"schema": {"type": "object"}}}}
    listed = {"type": "array", "items": {"$ref": "#/components/schemas/Photo"}}
    status = {"$ref": "#/components/schemas/Status"}
    headers = {"ETag": {"required": True, "schema": {"type": "string"}}, "Age": {"schema": {"type": "integer"}}}
    parameters = [
        {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 200}, "required": False},
        {"in": "query", "name": "status", "schema": {"type": "array", "items": status}, "explode": False},
    ]
    return {
        "paths": {
            PHOTOS: {
                "get": {
                    "operationId": "listPhotos",
                    "tags": ["photos"],
                    "parameters": parameters,
                    "responses": {"200": json_of(listed), "404": {"$ref": "#/components/responses/NotFound"}},
                },
                "post": {
                    "operationId": "addPhoto",
                    "tags": ["photos"],
                    "security": [{"bearer": []}],
                    "requestBody": json_of({"$ref": "#/components/schemas/NewPhoto"}),
                    "responses": {"201": json_of({"$ref": "#/components/schemas/Photo"}) | {"headers": headers}},
                },
            },
            PHOTO: {
                "get": {"operationId": "getPhoto", "tags": ["photos"], "responses": {"200": json_of(photo)}},
            },
        },
        "security": [{"bearer": []}, {}],
        "components": {
            "schemas": {
                "Photo": photo,
                "NewPhoto": new_photo,
                "Status": {"type": "string", "enum": ["PENDING", "READY"]},
            },
            "responses": {"NotFound": problem},
        },
    }


def json_of(schema: Json) -> Json:
    return {"content": {"application/json": {"schema": schema}}}


def at(document: Json, *keys: Any) -> Any:
    for key in keys:
        document = document[key]
    return document


def put(*keys_and_value: Any) -> Callable[[Json], None]:
    *keys, last, value = keys_and_value

    def change(document: Json) -> None:
        at(document, *keys)[last] = copy.deepcopy(value)

    return change


def drop(*keys: Any) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        del at(document, *keys[:-1])[keys[-1]]

    return change


def add(*keys_and_value: Any) -> Callable[[Json], None]:
    *keys, value = keys_and_value
    return lambda document: at(document, *keys).append(copy.deepcopy(value))


LIST, ADD = ("paths", PHOTOS, "get"), ("paths", PHOTOS, "post")
SCHEMAS = ("components", "schemas")
SENT, READ = (*SCHEMAS, "NewPhoto"), (*SCHEMAS, "Photo")
OF_LIST, OF_ADD = "GET /photos", "POST /photos: body: application/json"
ITEM = "GET /photos: 200: application/json: item"
NEW_PARAMETER = {"in": "query", "name": "album", "schema": {"type": "string"}}
BREAKS = {
    "a header": (drop(*ADD, "responses", "201", "headers", "ETag"), "POST /photos: 201: header ETag: is gone"),
    "a header that may be missing": (
        put(*ADD, "responses", "201", "headers", "ETag", "required", False),
        "POST /photos: 201: header ETag: may be missing",
    ),
    "a header of another type": (
        put(*ADD, "responses", "201", "headers", "Age", "schema", {"type": "string"}),
        "POST /photos: 201: header Age: may be string",
    ),
    "other fields of a body": (
        put(*SENT, "additionalProperties", False),
        "POST /photos: body: application/json: no longer takes other fields",
    ),
    "a path": (drop("paths", PHOTO), "GET /photos/{photoId}: is gone"),
    "an operation": (drop(*ADD), "POST /photos: is gone"),
    "a schema's name": (lambda d: put(*SCHEMAS, "Lane", {})(d) or drop(*SENT)(d) or put(*ADD, "requestBody", {})(d),
                        "schema NewPhoto: is gone"),
    "an operation's name": (put(*LIST, "operationId", "photos"), f"{OF_LIST}: operationId was listPhotos, is photos"),
    "a module": (put(*LIST, "tags", ["album"]), f"{OF_LIST}: tags was ['photos'], is ['album']"),
    "a credential": (put("security", [{"bearer": []}]), f"{OF_LIST}: no longer accepts anonymous requests"),
    "another credential": (put(*ADD, "security", [{"apiKey": []}]), "POST /photos: no longer accepts bearer"),
    "a parameter": (drop(*LIST, "parameters", 0), f"{OF_LIST}: query parameter limit: is gone"),
    "a required parameter": (
        add(*LIST, "parameters", {**NEW_PARAMETER, "required": True}),
        f"{OF_LIST}: query parameter album: is required now",
    ),
    "a parameter that became required": (
        put(*LIST, "parameters", 0, "required", True), f"{OF_LIST}: query parameter limit: is required now"),
    "a lower limit": (
        put(*LIST, "parameters", 0, "schema", "maximum", 100),
        f"{OF_LIST}: query parameter limit: maximum was 200, is 100",
    ),
    "a parameter's style": (
        put(*LIST, "parameters", 1, "explode", True), f"{OF_LIST}: query parameter status: is written in another way"),
    "a value of a parameter": (
        put(*SCHEMAS, "Status", "enum", ["READY"]),
        f"{OF_LIST}: query parameter status: item: no longer takes PENDING"),
    "a required body": (put(*LIST, "requestBody", {"required": True}), f"{OF_LIST}: a body is required now"),
    "a media type of a body": (
        put(*ADD, "requestBody", {"content": {"text/plain": {}}}), f"{OF_ADD}: is gone"),
    "a field of a body": (drop(*SENT, "properties", "note"), f"{OF_ADD}: note: is gone"),
    "a new required field": (
        lambda d: put(*SENT, "properties", "owner", {"type": "string"})(d) or add(*SENT, "required", "owner")(d),
        f"{OF_ADD}: owner: is required now",
    ),
    "a field that became required": (add(*SENT, "required", "note"), f"{OF_ADD}: note: is required now"),
    "a value of a body": (
        put(*SENT, "properties", "lane", "enum", ["bulk"]), f"{OF_ADD}: lane: no longer takes interactive"),
    "an enumeration in a body": (
        put(*SENT, "properties", "title", "enum", ["Lake"]), f"{OF_ADD}: title: no longer takes any other value"),
    "a narrower type": (
        put(*SENT, "properties", "rating", "type", "integer"), f"{OF_ADD}: rating: no longer takes number"),
    "another type": (put(*SENT, "properties", "title", {"type": "array"}), f"{OF_ADD}: title: no longer takes string"),
    "no null in a body": (put(*SENT, "properties", "note", "type", "string"), f"{OF_ADD}: note: no longer takes null"),
    "a shorter text": (
        put(*SENT, "properties", "title", "maxLength", 60), f"{OF_ADD}: title: maxLength was 120, is 60"),
    "a new lower bound": (
        put(*SENT, "properties", "note", "minLength", 1), f"{OF_ADD}: note: minLength was None, is 1"),
    "a pattern": (put(*SENT, "properties", "title", "pattern", "^a"), f"{OF_ADD}: title: pattern was None, is ^a"),
    "a success": (drop(*ADD, "responses", "201"), "POST /photos: no longer answers 201"),
    "a media type of a response": (
        put(*LIST, "responses", "200", "content", {"text/csv": {}}), f"{OF_LIST}: 200: application/json: is gone"),
    "a media type of errors": (
        put("components", "responses", "NotFound", "content", {}),
        f"{OF_LIST}: 404: application/problem+json: is gone",
    ),
    "a field of a response": (
        drop(*READ, "properties", "note"), f"{ITEM}: note: is gone"),
    "a required field of a response": (
        lambda d: drop(*READ, "properties", "id")(d) or at(d, *READ, "required").remove("id"), f"{ITEM}: id: is gone"),
    "a field that may be missing": (
        lambda d: at(d, *READ, "required").remove("id"), f"{ITEM}: id: may be missing"),
    "null in a response": (
        put(*READ, "properties", "id", {"type": ["string", "null"]}), f"{ITEM}: id: may be null"),
    "another type in a response": (
        put(*READ, "properties", "id", {"type": "integer"}), f"{ITEM}: id: may be integer"),
    "another type of items": (
        put(*READ, "properties", "tags", "items", {"type": "integer"}), f"{ITEM}: tags: item: may be integer"),
    "another type of values": (
        put(*READ, "properties", "exif", "additionalProperties", {"type": "number"}),
        f"{ITEM}: exif: value: may be number"),
    "another format": (
        put(*READ, "properties", "taken", {"type": "string"}), f"{ITEM}: taken: format was date-time, is None"),
    "no enumeration in a response": (
        put(*SCHEMAS, "Status", {"type": "string"}), f"{ITEM}: status: may be any other value"),
}  # fmt: skip
COMPATIBLE = {
    "a new header": put(*ADD, "responses", "201", "headers", "Link", {"schema": {"type": "string"}}),
    "a header that is always there now": put(*ADD, "responses", "201", "headers", "Age", "required", True),
    "nothing": lambda document: None,
    "a new path": put("paths", "/albums", {"get": {"operationId": "listAlbums", "responses": {}}}),
    "a new operation": put("paths", PHOTO, "delete", {"operationId": "deletePhoto", "responses": {}}),
    "a new credential": add("security", {"apiKey": []}),
    "a new parameter": add(*LIST, "parameters", NEW_PARAMETER),
    "a higher limit": put(*LIST, "parameters", 0, "schema", "maximum", 500),
    "no limit": drop(*LIST, "parameters", 0, "schema", "maximum"),
    "a new optional body": put(*LIST, "requestBody", json_of({"type": "object"})),
    "a new media type of a body": put(*ADD, "requestBody", "content", "image/png", {"schema": {"type": "string"}}),
    "a new optional field of a body": put(*SENT, "properties", "owner", {"type": "string"}),
    "a field that is optional now": put(*SENT, "required", []),
    "a new value of a body": add(*SENT, "properties", "lane", "enum", "slow"),
    "a wider type of a body": put(*SENT, "properties", "title", "type", ["string", "integer"]),
    "null in a body": put(*SENT, "properties", "title", "type", ["string", "null"]),
    "a longer text": put(*SENT, "properties", "title", "maxLength", 200),
    "no pattern": drop(*SENT, "properties", "title", "minLength"),
    "a new success": put(*ADD, "responses", "202", {}),
    "a new error": put(*ADD, "responses", "409", {}),
    "a new field of a response": put(*READ, "properties", "height", {"type": "integer"}),
    "a field that is always there now": add(*READ, "required", "note"),
    "no null in a response": put(*READ, "properties", "width", {"type": "integer"}),
    "a new value of a response": put(*SCHEMAS, "Status", "enum", ["PENDING", "READY", "FAILED"]),
    "a narrower type of a response": put(*READ, "properties", "tags", "items", {"type": "string", "maxLength": 3}),
    "another description": put(*READ, "description", "A photo"),
    "a schema in place": lambda d: put(*LIST, "responses", "200", json_of({"type": "array", "items": at(d, *READ)}))(d),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_is_found(name):
    change, sentence = BREAKS[name]
    new = a_document()
    change(new)
    assert sentence in list(breaks(a_document(), new))


@pytest.mark.parametrize("name", COMPATIBLE)
def test_a_compatible_change_passes(name):
    new = a_document()
    COMPATIBLE[name](new)
    assert list(breaks(a_document(), new)) == []


def test_the_api_is_compatible_with_the_last_release():
    """If a break is intended, the advice says how it is accepted."""
    done = run_check()
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_command_prints_each_break(tmp_path):
    """In a copy, whose last release has a field and an operation that the API has not."""
    baseline = json.loads(BASELINE.read_text())
    baseline["components"]["schemas"]["Image"]["properties"]["stars"] = {"type": "integer"}
    baseline["paths"]["/api/v1/albums"] = {"get": {"operationId": "listAlbums", "responses": {}}}
    (tmp_path / "openapi.json").write_text(json.dumps(baseline))
    done = run_check("--against", str(tmp_path / "openapi.json"))
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (1, ADVICE)
    assert "GET /api/v1/albums: is gone" in lines
    assert "GET /api/v1/images: 200: application/json: item: stars: is gone" in lines


def run_check(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".ci" / "check_api.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
