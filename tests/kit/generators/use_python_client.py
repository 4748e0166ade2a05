"""Uses the client that openapi-python-client has generated: prints what it has done as JSON."""

import io
import json
import os
from pathlib import Path
from typing import TypeVar

from gallery_generated import AuthenticatedClient
from gallery_generated.api.images import (
    delete_image,
    edit_image,
    get_image,
    get_original,
    list_images,
    upload_image,
)
from gallery_generated.models import Focus, Image, ImageChanges, Problem, UploadedImage, UploadImageFilesBody
from gallery_generated.types import UNSET, File

Answer = TypeVar("Answer")


def success(answer: Answer | Problem) -> Answer:
    assert not isinstance(answer, Problem), answer
    return answer


with AuthenticatedClient(base_url=os.environ["GALLERY_URL"], token=os.environ["TOKEN"]) as client:
    photo = Path(os.environ["PHOTO"]).read_bytes()
    body = UploadImageFilesBody(
        file=File(payload=io.BytesIO(photo), file_name="lake.jpg", mime_type="image/jpeg"),
        title="Lake",
        tags=["kit", "lake"],
    )
    uploaded = success(upload_image.sync(client=client, body=body))
    assert isinstance(uploaded, UploadedImage)
    listed = success(list_images.sync(client=client, tag=["kit"], limit=10))
    got = success(get_image.sync(uploaded.id, client=client))
    assert isinstance(got, Image)
    assert isinstance(listed, list)
    edited = success(
        edit_image.sync(got.id, client=client, body=ImageChanges(title="Lake at dawn", focus=Focus(x=0.5, y=0.4)))
    )
    assert isinstance(edited, Image)
    assert not hasattr(edited, "titel")
    original = success(get_original.sync(got.id, client=client))
    assert isinstance(original, File)
    deleted = success(delete_image.sync(got.id, client=client))
    assert isinstance(deleted, Image)
    problem = get_image.sync(deleted.id, client=client)
    assert isinstance(problem, Problem)
    refused = edit_image.sync(deleted.id, client=client, body=ImageChanges(title=""))
    assert isinstance(refused, Problem)
    assert refused.errors is not UNSET

    result = {
        "uploaded": uploaded.id,
        "duplicate": uploaded.duplicate,
        "listed": [one.id for one in listed],
        "tags": got.tags,
        "title": edited.title,
        "size": len(original.payload.read()),
        "problem": {"code": problem.code, "status": problem.status},
        "field": refused.errors[0].pointer if refused.errors else None,
    }
    print(json.dumps(result))  # noqa: T201
