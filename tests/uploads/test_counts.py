"""How uploads in several requests count: in rate limits, and in metrics."""

import httpx

import photos
import tus_requests as tus
from conftest import running_application
from scraping import scrape

PHOTO = photos.a_jpeg()


async def test_an_upload_counts_once_and_its_chunks_as_requests(environment):
    limits = {
        "GALLERY_RATE__ENABLED": "true",
        "GALLERY_RATE__UPLOADS": "1 per 60 s",
        "GALLERY_RATE__STRANGER": "6 per 60 s",
    }
    async with running_application(environment, **limits) as (_, client):
        url = await tus.created(client, len(PHOTO))
        refused = [await tus.create(client, len(PHOTO)), await client.post(f"{tus.BASE}/direct", json={"size": 5})]
        for answer in refused:
            assert (answer.status_code, answer.json()["violated-policies"]) == (429, ["uploads"])
            assert answer.headers["Tus-Resumable" if answer is refused[0] else "Retry-After"]
        for offset in range(0, 5000, 1000):
            answer = await tus.patch(client, url, offset, PHOTO[offset : offset + 1000])
            assert answer.status_code == 204
            assert answer.headers["RateLimit"].startswith('"requests"')
        await tus.head(client, url)
        answer = await tus.patch(client, url, 5000, PHOTO[5000:])
        assert (answer.status_code, answer.json()["violated-policies"]) == (429, ["requests"])
        assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_metrics_tell_how_uploads_end(client: httpx.AsyncClient, gallery):
    before = await scrape(client)
    await tus.send(client, PHOTO)
    await tus.send(client, PHOTO)
    await tus.send(client, b"no picture")
    await client.delete(await tus.created(client, 100), headers=tus.VERSION)
    await tus.created(client, 100)
    async with gallery.database.primary() as db:
        await db.execute("UPDATE upload SET expires_at = now()")
    await gallery.sweep.run()
    await client.post(f"{tus.BASE}/direct", json={"size": 100})
    after = await scrape(client)
    begun = [
        after.value("uploads_begun_total", protocol=protocol) - before.value("uploads_begun_total", protocol=protocol)
        for protocol in ("tus", "direct")
    ]
    ended = {
        outcome: after.value("uploads_ended_total", outcome=outcome)
        - before.value("uploads_ended_total", outcome=outcome)
        for outcome in ("image", "duplicate", "refused", "cancelled", "expired")
    }
    assert begun == [5, 1]
    assert ended == dict.fromkeys(ended, 1)
