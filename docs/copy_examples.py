"""Copies the code of examples/ into the documents: `python docs/copy_examples.py`.

The line `<!-- examples/react/src/App.jsx -->` before a fenced block says which file the block is a copy of, and
`<!-- examples/react/src/Photos.jsx#list -->` which part: the lines between `#region list` and `#endregion` in comments.
"""  # noqa: INP001

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[1]
COPY = re.compile(
    r"^<!-- (?P<file>(?:examples|tests/kit/apps)/[^\s#]+)(?:#(?P<part>[\w-]+))? -->\n+"
    r"(?P<fence>```+)(?P<language>\w*)\n.*?^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
REGION = re.compile(r"^.*#region ([\w-]+).*\n(.*?)^.*#endregion.*\n", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"^.*#(?:region|endregion)\b.*\n", re.MULTILINE)


def copied(page: str) -> str:
    """The page with its copies as the files are now. Raises `KeyError` for an unknown part, and `OSError`."""
    return COPY.sub(_block, page)


def pages() -> Iterator[Path]:
    """The documents that may have copies."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from sorted((ROOT / "clients").glob("*/README.md"))


def stale() -> Iterator[Path]:
    """The documents of which a copy is not what its file has."""
    for path in pages():
        page = path.read_text()
        if copied(page) != page:
            yield path


def _block(copy: re.Match[str]) -> str:
    text = (ROOT / copy["file"]).read_text()
    code = dict(REGION.findall(text))[copy["part"]] if copy["part"] else text
    code = dedent(MARK.sub("", code)).strip("\n")
    part = f"#{copy['part']}" if copy["part"] else ""
    return f"<!-- {copy['file']}{part} -->\n\n{copy['fence']}{copy['language']}\n{code}\n{copy['fence']}"


if __name__ == "__main__":
    for path in stale():
        path.write_text(copied(path.read_text()))
