"""Writes docs/errors.md from the catalogue of errors: `python docs/make_errors.py`."""  # noqa: INP001

from pathlib import Path

from gallery.web.catalogue import catalogue

PAGE = Path(__file__).with_name("errors.md")

HEAD = """\
<!-- Written by docs/make_errors.py; change src/gallery/errors.py and src/gallery/web/catalogue.py instead. -->

# Errors by code

Each error answer is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with one of these codes;
[Errors and retries](app/errors.md) explains how an app handles them. Codes do not change; new ones may be added. A
running Gallery shows this table at `/api/errors`, and the `type` of each problem links to it. A code without a status
appears only in an image's `error` or timeline.

| status | code | message | remedy |
|---|---|---|---|
"""


def page() -> str:
    """The whole page as it should be."""
    return HEAD + "".join(f"| {e.status or ''} | {_named(e.code)} | {e.sentence} | {e.remedy} |\n" for e in catalogue())


def _named(code: str) -> str:
    """With an anchor, so that `errors.md#too_large` leads to the row."""
    return f'<a id="{code}"></a>`{code}`'


if __name__ == "__main__":
    PAGE.write_text(page())
