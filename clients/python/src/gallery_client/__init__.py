"""A client of Gallery, the image backend: upload, list, wait, follow events, sign links."""

from gallery_client.client import AsyncGallery, Gallery
from gallery_client.errors import FieldProblem, GalleryError, GalleryTimeout, GalleryUnavailable
from gallery_client.models import Event, Focus, Image, ImageError, Placeholder, Rendition, Status, UploadTicket
from gallery_client.pictures import sign

__version__ = "0.1.0"
__all__ = [
    "AsyncGallery",
    "Event",
    "FieldProblem",
    "Focus",
    "Gallery",
    "GalleryError",
    "GalleryTimeout",
    "GalleryUnavailable",
    "Image",
    "ImageError",
    "Placeholder",
    "Rendition",
    "Status",
    "UploadTicket",
    "sign",
]
