"""The examples in the OpenAPI document: one of each component that is a body, by the component's name."""

from typing import Any

Document = dict[str, Any]

ID = "0199c1a2-b3c4-7d5e-8f60-718293a4b5c6"
IMAGE_URL = f"/api/v1/images/{ID}"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
AT = "2026-12-01T08:30:00.000000Z"
LATER = "2026-12-01T09:30:00.000000Z"
RENDITION = {"name": "960", "format": "webp", "url": f"{IMAGE_URL}/960.webp?v=5f2c1b9e"}
SRCSET = {"webp": f"{IMAGE_URL}/320.webp?v=5f2c1b9e 320w, {RENDITION['url']} 960w"}
IMAGE = {
    "id": ID,
    "title": "Lake at dawn",
    "description": "",
    "alt": "A lake between two hills",
    "tags": ["lake", "summer"],
    "originalName": "lake.jpg",
    "mimeType": "image/jpeg",
    "size": 2483113,
    "sha256": SHA256,
    "width": 4032,
    "height": 3024,
    "status": "READY",
    "s3Key": f"original/{ID}",
    "s3Url": f"{IMAGE_URL}/original",
    "version": 3,
    "attempts": 1,
    "error": None,
    "animated": False,
    "focus": {"x": 0.5, "y": 0.4},
    "visibility": "private",
    "renditions": [{**RENDITION, "width": 960, "height": 720, "size": 61240}],
    "srcset": SRCSET,
    "original": f"{IMAGE_URL}/original",
    "placeholder": {"thumbhash": "1QcSHQRnh493V4dIh4eXh1h4kJUI", "color": "#6f7f86"},
    "exif": {"Make": "FUJIFILM", "Model": "X-T5"},
    "createdAt": AT,
    "updatedAt": "2026-12-01T08:30:01.250000Z",
}
PENDING = {
    "status": "PENDING",
    "version": 1,
    "attempts": 0,
    "width": None,
    "height": None,
    "s3Url": None,
    "renditions": [],
    "srcset": {},
    "placeholder": None,
    "updatedAt": AT,
}
LINKS = {
    "expiresAt": LATER,
    "keyId": "k1",
    "srcset": {"webp": f"{IMAGE_URL}/320.webp?kid=k1&exp=1796117400&sig=c2ln 320w"},
    "renditions": [{"name": "320", "format": "webp", "url": f"{IMAGE_URL}/320.webp?kid=k1&exp=1796117400&sig=c2ln"}],
    "original": f"{IMAGE_URL}/original?kid=k1&exp=1796117400&sig=c2ln",
}
EXAMPLES: dict[str, Any] = {
    "Image": IMAGE,
    "UploadedImage": {**IMAGE, **PENDING, "duplicate": False},
    "ImageChanges": {"title": "Lake at noon", "tags": ["lake"], "focus": {"x": 0.5, "y": 0.4}},
    "FileToCheck": {"id": "photos/lake.jpg", "sha256": SHA256},
    "CheckedFile": {"id": "photos/lake.jpg", "image": ID},
    "TimelineEntry": {
        "at": AT,
        "stage": "uploaded",
        "attempt": 0,
        "worker": None,
        "durationMs": None,
        "code": None,
        "nextAttemptAt": None,
    },
    "DownloadLink": {"url": f"{IMAGE_URL}/original?kid=k1&exp=1796117400&sig=c2ln&download=1", "expiresIn": 3600},
    "LinksRequest": {"expiresIn": 3600, "pictures": ["w=800&h=600&fit=cover"]},
    "ManyLinksRequest": {"ids": [ID]},
    "SignedLinks": LINKS,
    "SignedImageLinks": {**LINKS, "id": ID},
    "Preset": {"name": "avatar", "query": "w=96&h=96&fit=cover"},
    "UploadTicketRequest": {"uses": 1, "expiresIn": 600, "types": ["image/jpeg", "image/png"], "tags": ["from-app"]},
    "UploadTicket": {"ticket": "gt_0199c1a2b3c47d5e_c2VjcmV0", "expiresIn": 600, "id": ID},
    "Upload": {"id": ID, "received": 8388608, "size": 31457280, "expiresAt": LATER},
    "DirectUploadRequest": {"name": "lake.jpg", "size": 31457280, "sha256": SHA256, "title": "Lake at dawn"},
    "DirectUpload": {
        "id": ID,
        "parts": [
            {
                "url": f"/api/v1/uploads/{ID}/parts/1?kid=k1&exp=1796117400&sig=c2ln",
                "method": "PUT",
                "headers": {},
                "from": 0,
                "to": 31457280,
            }
        ],
        "expiresAt": LATER,
        "complete": f"/api/v1/uploads/{ID}/complete",
    },
    "Caller": {"owner": "maya", "scopes": ["images:read", "images:write"]},
    "Session": {"owner": "maya", "scopes": ["images:read", "images:write"], "expiresIn": 43200},
    "StreamTicket": {"ticket": "WyJzdHJlYW0iXQ.k1.c2ln", "expiresIn": 300},
    "Event": {"imageId": ID, "status": "READY", "version": 3, "timestamp": AT, "title": "Lake at dawn"},
    "Health": {
        "status": "ok",
        "timestamp": "2026-12-01T08:30:00.000Z",
        "uptime": 86400.5,
        "memory": {"rss": 181403648, "heapTotal": 402653184, "heapUsed": 142606336},
    },
    "Liveness": {"status": "ok"},
    "Readiness": {"status": "ok"},
}


def with_examples(document: Document) -> Document:
    """The document with an example of each JSON body that has such a component, or is an array of them."""
    paths = {
        path: {method: _operation(operation) for method, operation in item.items()}
        for path, item in document["paths"].items()
    }
    return document | {"paths": paths}


def _operation(operation: Document) -> Document:
    body = {"requestBody": _message(operation["requestBody"])} if "requestBody" in operation else {}
    responses = {status: _message(response) for status, response in operation["responses"].items()}
    return operation | body | {"responses": responses}


def _message(message: Document) -> Document:
    content = message.get("content")
    if not content:
        return message
    return message | {"content": {kind: media | _example(kind, media) for kind, media in content.items()}}


def _example(media_type: str, media: Document) -> Document:
    schema = media.get("schema", {})
    name = _component(schema.get("items", schema))
    if media_type != "application/json" or name not in EXAMPLES:
        return {}
    example = EXAMPLES[name]
    return {"example": [example] if "items" in schema else example}


def _component(schema: Document) -> str:
    """The name of the component that the schema refers to, alone or beside `null`."""
    references = [choice["$ref"] for choice in (schema, *schema.get("oneOf", [])) if "$ref" in choice]
    return references[0].rpartition("/")[2] if len(references) == 1 else ""
