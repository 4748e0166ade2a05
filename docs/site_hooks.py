"""MkDocs' hooks (mkdocs.yml): make links out of docs/ absolute, and replace diagrams by pictures."""  # noqa: INP001

import hashlib
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DIAGRAMS = ROOT / "docs" / "images" / "diagrams"
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=[)\s])")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: object) -> str:
    here = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    return in_the_repository(MERMAID.sub(_picture, markdown), here, config.extra["repository"])


def on_post_build(*, config: Any, **_: object) -> None:
    """Copies the pages' Markdown beside the pages, for the links of llms.txt."""
    docs, site = Path(config["docs_dir"]), Path(config["site_dir"])
    for path in docs.rglob("*.md"):
        copy = site / path.relative_to(docs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())


def in_the_repository(markdown: str, here: str, address: str) -> str:
    """The page with a URL of the repository for each link to a file outside of docs/."""

    def mended(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(here, link[1]))
        if path.startswith("docs/") and not path.endswith(".py"):
            return link[0]
        view = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{address}/{view}/main/{path}{link[2] or ''}"

    return LINK.sub(mended, markdown)


def diagram(source: str) -> Path:
    """The picture that docs/draw_diagrams.py has drawn of this text; its name is a hash of the text."""
    return DIAGRAMS / f"{hashlib.sha256(source.encode()).hexdigest()[:12]}.svg"


def _picture(fenced: re.Match[str]) -> str:
    return f'<figure class="diagram">{diagram(fenced[1]).read_text().strip()}</figure>\n'
