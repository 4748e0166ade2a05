"""Writes docs/reference/api.md from the OpenAPI document of the application: `python docs/make_api.py`.

No server is needed: the application describes itself without one.
"""  # noqa: INP001

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx
import structlog

from gallery.settings import Settings
from gallery.web import docs, samples
from gallery.web.app import make_app

PAGE = Path(__file__).with_name("reference") / "api.md"
ADDRESS = "http://127.0.0.1:3000"

HEAD = """\
<!-- Written by docs/make_api.py from the OpenAPI document; change the handlers in src/gallery instead. -->

# API

Every call, its parameters and its answers, from the OpenAPI document. A running Gallery serves that document at
`/api/openapi.json`, and this reference with samples in curl, Python and JavaScript at `/api`.
[The API by example](../api.md) shows how the calls work together, and [Errors](../errors.md)
lists all codes.

Errors are problem documents (`application/problem+json`, RFC 9457). JSON is camelCase, times are RFC 3339 in UTC, ids
are UUIDv7. The samples use these variables:

```text
{setup}
```

## Answers of every call

| answer | is |
|---|---|
{common}"""
COMMON = {
    "401": "a credential is missing or not valid",
    "403": "the credential lacks a scope, or the request comes from another origin or host",
    "429": "too many requests; `Retry-After` says when to ask again",
    "503": "a server that Gallery needs is unavailable; `Retry-After` says when to ask again",
    "default": "any other error is a problem document, too",
}
TITLES = {
    "images": "Images",
    "uploads": "Uploads",
    "notifications": "Notifications",
    "access": "Access",
    "others": "Others",
    "operation": "Operation",
    "administration": "Administration",
}


def page() -> str:
    """The whole page as it should be."""
    described = document()
    common = "".join(f"| {status} | {words} |\n" for status, words in COMMON.items())
    parts = [HEAD.format(setup=samples.setup(ADDRESS)["curl"], common=common)]
    groups = docs.operations_by_tag(described)
    for tag, actions in groups.items():
        parts += [f"\n## {TITLES.get(tag, tag.capitalize())}\n\n| call | does |\n|---|---|\n"]
        parts += [f"| [`{a.method} {_cell(a.path)}`](#{_anchor(a)}) | {_cell(a.summary)} |\n" for a in actions]
        for action in actions:
            parts += _action(action)
    parts += ["\n## Types\n"]
    for table in docs.schemas(described):
        parts += _schema(table)
    return "".join(parts)


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return asyncio.run(_document())


async def _document() -> dict[str, Any]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # no output
    application = MagicMock(settings=Settings.read({"GALLERY_RATE__ENABLED": "false"}))
    transport = httpx.ASGITransport(make_app(application).asgi)
    async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
        answer = await client.get("/api/openapi.json")
        answer.raise_for_status()
        described: dict[str, Any] = answer.json()
        return described


def _anchor(action: docs.Operation) -> str:
    return re.sub(r"[^\w\- ]", "", action.summary.lower()).replace(" ", "-")


def _action(action: docs.Operation) -> Iterator[str]:
    yield f"\n### {action.summary}\n\n**`{action.method} {action.path}`**\n"
    if action.description.strip() not in ("", action.summary.strip()):
        yield f"\n{_prose(action.description.removeprefix(action.summary))}\n"
    yield f"\n```text\n{action.samples['curl'].strip()}\n```\n"
    if action.parameters:
        yield "\n| parameter | in | is | |\n|---|---|---|---|\n"
        yield from (
            f"| {_name(p)} | {p.location} | {_type(p.type_name)} | {_cell(p.notes)} |\n" for p in action.parameters
        )
    if action.body:
        yield f"\nBody, `{action.body_type}`:\n\n| field | is | |\n|---|---|---|\n"
        yield from (f"| {_name(f)} | {_type(f.type_name)} | {_cell(f.notes)} |\n" for f in action.body)
    yield "\n| answer | is |\n|---|---|\n"
    for answer in action.responses:
        kind = f"{_type(answer.type_name)}, " if answer.type_name else ""
        of = f" ({kind}`{answer.media_type}`)" if answer.media_type else ""
        yield f"| {answer.status} | {_cell(answer.description)}{of} |\n"
    special = [error for error in action.errors if error.status not in COMMON]
    yield from (f"| {error.status} | {_cell(error.description)} |\n" for error in special)
    if common := [error.status for error in action.errors if error.status in COMMON and error.status != "default"]:
        yield f"| {', '.join(common)} | [as of every call](#answers-of-every-call) |\n"


def _schema(table: docs.SchemaDoc) -> Iterator[str]:
    yield f"\n### {table.name}\n"
    if table.description:
        yield f"\n{_prose(table.description)}\n"
    if table.choices:
        yield f"\nOne of {', '.join(f'`{choice}`' for choice in table.choices)}.\n"
    if table.fields:
        yield "\n| field | is | |\n|---|---|---|\n"
        yield from (f"| {_name(f)} | {_type(f.type_name)} | {_cell(f.notes)} |\n" for f in table.fields)


def _name(field: docs.Field) -> str:
    return f"`{field.name}`" + (", required" if field.required else "")


def _type(kind: docs.TypeName) -> str:
    words = _cell(kind.text)
    return f"[{words}](#{kind.schema.lower()})" if kind.schema else words


def _prose(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
