"""A page on which visitors upload photos straight to Gallery, each by a ticket that this server hands out."""

import os

from flask import Flask, render_template

from gallery_client import Gallery, GalleryError

URL = os.environ.get("GALLERY_URL", "http://127.0.0.1:3000")
app = Flask(__name__)
gallery = Gallery(URL, os.environ.get("GALLERY_TOKEN"), retry_for=5)  # a visitor waits


@app.get("/")
def page() -> str:
    return render_template("page.html", gallery=URL)


@app.post("/ticket")
def ticket() -> dict[str, str]:
    """For one photo within ten minutes. An app of your own asks first which of its users this is."""
    ticket = gallery.upload_ticket(
        uses=1, expires_in=600, max_bytes=10_000_000, types=["image/jpeg", "image/png"], tags=["visitors"]
    )
    return {"ticket": ticket.ticket}


@app.errorhandler(GalleryError)
def gallery_failed(error: GalleryError) -> tuple[dict[str, str], int]:
    return {"code": error.code, "detail": error.detail}, 502
