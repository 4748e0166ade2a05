"""Writes docs/llms.txt (https://llmstxt.org) from the site's navigation: `python docs/make_llms.py`.

Each entry has the page's title and the first sentence of its text.
"""  # noqa: INP001

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parent
PAGE = DOCS / "llms.txt"
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")

HEAD = """\
# Gallery

> The image backend that a React, Vue or mobile app puts behind itself: an app uploads a photo, Gallery keeps the
> original, renders it into the sizes and formats that a page needs, and tells every listening client when it is ready.

A running Gallery serves its OpenAPI document at `/api/openapi.json`. Links are relative to this file, and lead to
Markdown.
"""


class Loader(yaml.SafeLoader):
    """Reads past the names of Python functions."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def page() -> str:
    """The whole file as it should be."""
    nav = yaml.load((DOCS.parent / "mkdocs.yml").read_text(), Loader)["nav"]  # noqa: S506  # a safe loader
    sections = ((title, list(_pages(entries))) for section in nav for title, entries in section.items())
    return HEAD + "".join(f"\n## {title}\n\n{''.join(map(_entry, pages))}" for title, pages in sections)


def _pages(entries: Any) -> Iterator[str]:
    match entries:
        case str():
            yield entries
        case dict():
            for entry in entries.values():
                yield from _pages(entry)
        case list():
            for entry in entries:
                yield from _pages(entry)


def _entry(path: str) -> str:
    text = FENCED.sub("", (DOCS / path).read_text())
    title, _, rest = re.sub(r".*?^# ", "", text, count=1, flags=re.MULTILINE | re.DOTALL).partition("\n")
    blocks = [" ".join(block.split()) for block in rest.split("\n\n")]
    prose = next((block for block in blocks if re.match(r"[A-Z`*\[]", block)), "")
    sentence = re.split(r"(?<=[.!?])\s", LINK.sub(r"\1", prose))[0].replace("**", "").rstrip(":.")
    return f"- [{title}]({path}): {sentence}\n"


if __name__ == "__main__":
    PAGE.write_text(page())
