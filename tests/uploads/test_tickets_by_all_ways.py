"""An upload ticket is the same by each way to upload: its uses, its rules and its end."""

import asyncio
from typing import Any

import pytest

import photos
import tus_requests as tus
from credentials import create_upload_ticket, upload_headers
from upload_cases import PHOTO, Sender, by_all_ways
from upload_ways import image_id, problem_of


async def test_a_ticket(store):
    async def case(sender: Sender) -> Any:
        ticket = await sender.ticket(uses=1, visibility="public", tags=["page"], lane="bulk")
        first = await sender.send(headers=ticket, key="k1", fields={"tags": ["own"]})
        retried = await sender.send(headers=ticket, key="k1", fields={"tags": ["own"]})
        assert image_id(first) == image_id(retried)
        used_up = problem_of(await sender.send(PHOTO + b"x", headers=ticket))
        return await sender.seen(first), used_up, await sender.kept()

    found, used_up, _ = await by_all_ways(store, case)
    assert (found["image"]["visibility"], found["image"]["tags"]) == ("public", ["own", "page"])
    assert (used_up["status"], used_up["code"]) == (403, "upload_ticket_used_up")


RULES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, str]]] = {
    "types": ({"types": ["image/png"]}, {}, (415, "type_not_accepted")),
    "maxBytes": ({"maxBytes": 1000}, {}, (413, "too_large")),
    "visibility": ({"visibility": "private"}, {"fields": {"visibility": "public"}}, (422, "invalid_field")),
    "lane": ({"lane": "bulk"}, {"fields": {"lane": "interactive"}}, (422, "invalid_field")),
    "tags": ({"tags": ["page"]}, {"fields": {"tags": [str(n) for n in range(50)]}}, (422, "invalid_field")),
}


@pytest.mark.parametrize("name", RULES)
async def test_the_rules_of_a_ticket(store, name):
    rules, sent, expected = RULES[name]

    async def case(sender: Sender) -> Any:
        ticket = await sender.ticket(**rules)
        problem = problem_of(await sender.send(headers=ticket, **sent))
        assert await sender.kept() == (0, 0)
        small = photos.a_png(width=8, height=8)
        return problem, await sender.seen(await sender.send(small, headers=ticket))  # its use is left

    problem, _ = await by_all_ways(store, case)
    assert (problem["status"], problem["code"]) == expected


async def test_an_expired_ticket_and_a_revoked_one(store):
    async def case(sender: Sender) -> Any:
        short = await sender.ticket(expiresIn=1)
        made = await create_upload_ticket(sender.client, sender.headers)
        await sender.client.delete(f"{tus.BASE}/tickets/{made['id']}", headers=sender.headers)
        await asyncio.sleep(1.1)
        return [problem_of(await sender.send(headers=ticket)) for ticket in (short, upload_headers(made["ticket"]))]

    assert {problem["status"] for problem in await by_all_ways(store, case)} == {401}
