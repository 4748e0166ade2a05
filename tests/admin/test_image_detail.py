"""One image's details for operators."""

import photos
from credentials import closed_application, create_api_key
from factories import expire_pending_puts, post, unique_photo, upload_image
from gallery.errors import ObjectStoreUnavailable


async def read(client, image: str, **headers):
    return await client.get(f"/admin/images/{image}", headers=headers)


async def test_the_detail_has_the_reason_of_a_deferral(client, gallery, processing, monkeypatch):
    image = (await post(client, lane="bulk")).json()

    async def unavailable(*_, **__):
        raise ObjectStoreUnavailable

    monkeypatch.setattr(gallery.objects, "fetch", unavailable)
    await processing.process(image["id"])
    found = (await read(client, image["id"])).json()
    assert (found["owner"], found["status"], found["work"], found["lane"]) == ("everybody", "PENDING", "due", "bulk")
    assert (found["attempt"], found["deferrals"], found["strikes"], found["losses"]) == (1, 1, 0, 0)
    assert (found["worker"], found["queuePlace"], found["objects"]) == ("worker", 1, 1)
    assert found["nextAttemptAt"] > found["createdAt"]
    assert [entry["stage"] for entry in found["timeline"]] == ["uploaded", "processing", "deferred"]
    assert found["timeline"][-1]["code"] == "object_store_away"


async def test_the_detail_has_the_error_of_a_failure(client, gallery, processing):
    image = await upload_image(gallery, photos.a_jpeg(400, 300)[:2000])
    await processing.process(image.id)
    found = (await read(client, image.id)).json()
    assert (found["status"], found["work"], found["error"]["code"]) == ("FAILED", None, "damaged_picture")


async def test_a_deleted_image_can_be_read_until_its_row_is_removed(client, gallery):
    image = await upload_image(gallery)
    await client.delete(f"/api/v1/images/{image.id}")
    assert (await read(client, image.id)).json()["deletedAt"]
    async with gallery.database.writing() as db:
        await db.execute("UPDATE image SET deleted_at = now() - interval '2 hours'")
    await gallery.sweep.run()
    await expire_pending_puts(gallery)
    await gallery.sweep.run()
    answer = await read(client, image.id)
    assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found")


async def test_only_an_admin_reads_details_of_all_owners(settings):
    async with closed_application(settings) as (gallery, client):
        _, maya = await create_api_key(gallery, "maya")
        _, admin = await create_api_key(gallery, "ops", "admin")
        file = {"file": ("lake.jpg", unique_photo())}
        image = (await client.post("/api/v1/images", files=file, headers={"X-Api-Key": maya})).json()["id"]
        assert (await read(client, image)).status_code == 401
        assert (await read(client, image, **{"X-Api-Key": maya})).status_code == 403
        assert (await read(client, image, **{"X-Api-Key": admin})).json()["owner"] == "maya"
