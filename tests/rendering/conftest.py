"""`render_file`: renders a file, and returns its renditions."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

import photos
from gallery.rendering.pipeline import render
from gallery.rendering.recipe import Recipe
from gallery.rendering.rendered import Rendered


@dataclass(frozen=True)
class RenderedFiles:
    facts: Rendered
    folder: Path

    def file(self, name: str, kind: str) -> bytes:
        return (self.folder / f"{name}.{kind}").read_bytes()

    def picture(self, name: str, kind: str) -> Image.Image:
        return photos.opened(self.file(name, kind))

    @property
    def sizes(self) -> list[tuple[str, str, int, int]]:
        return [(each.name, each.format, each.width, each.height) for each in self.facts.renditions]


RenderFile = Callable[[bytes], RenderedFiles]


@pytest.fixture
def render_file(tmp_path: Path) -> RenderFile:
    numbers = count()

    def from_file(file: bytes, recipe: Recipe | None = None) -> RenderedFiles:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        original = tmp_path / f"{folder.name}.original"
        original.write_bytes(file)
        return RenderedFiles(render(original, folder, recipe or Recipe()), folder)

    return from_file
