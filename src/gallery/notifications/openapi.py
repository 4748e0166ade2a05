"""The parts of the OpenAPI document that do not follow from the signature in `api.py`."""

from dataclasses import dataclass

from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType

from gallery.notifications.model import EVENT_TYPES

TEXT = Schema(type=OpenAPIType.STRING)
TYPES = Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING, enum=list(EVENT_TYPES)))
PARAMETERS = (
    Parameter(
        "types",
        "query",
        schema=TYPES,
        description="Only events of these types, comma-separated",
        style="form",
        explode=False,
    ),
    Parameter("imageId", "query", schema=TEXT, description="Only events of this image"),
    Parameter(
        "lastEventId",
        "query",
        schema=TEXT,
        description="Only events after this one; like the header `Last-Event-ID`, which takes precedence",
    ),
    Parameter(
        "ticket",
        "query",
        schema=TEXT,
        description="From `POST /notifications/ticket`, for clients that cannot send headers; or an upload ticket",
    ),
    Parameter("Last-Event-ID", "header", schema=TEXT, description="The `id` of the last event that arrived"),
)


@dataclass
class StreamOperation(Operation):
    """Documents the parameters, of which the handler's signature knows only that they are text."""

    def __post_init__(self) -> None:
        self.parameters = list(PARAMETERS)
