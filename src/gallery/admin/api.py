"""Operators' calls over HTTP. Each of them is for admins only."""

from typing import Any

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response import Response

from gallery.access.model import ADMINISTERS
from gallery.admin.dossier import Dossier, Dossiers
from gallery.images.model import id_from

NO_STORE = {"Cache-Control": "no-store"}


@get(
    "/images/{image_id:str}",
    operation_id="readDossier",
    summary="All that is known of an image and its timeline, of a deleted one too",
    responses={200: ResponseSpec(Dossier, description="The image as operators read it", generate_examples=False)},
)
async def dossier(image_id: FromPath[str], dossiers: NamedDependency[Dossiers]) -> Response[Dossier]:
    return Response(await dossiers.get(id_from(image_id)), headers=NO_STORE)


def router() -> Router:
    handlers: list[Any] = [dossier]
    return Router("/admin", route_handlers=handlers, tags=["administration"], opt=ADMINISTERS)
