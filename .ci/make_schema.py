"""Writes the types of the API's JSON for the JavaScript client, clients/javascript/src/schema.ts, from the OpenAPI
document: `python .ci/make_schema.py`. openapi-typescript does it, in Node; without npm the file stays as it is.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from check_api import ROOT, present_document

SCHEMA = ROOT / "clients" / "javascript" / "src" / "schema.ts"
GENERATORS = ROOT / "tests" / "kit" / "generators"
HEAD = "// Written by .ci/make_schema.py from the OpenAPI document, whose types have the SHA-256 {digest}.\n"
PROSE = {"description", "summary", "title", "example", "examples"}


def main() -> int:
    if not shutil.which("npm"):
        print(f"There is no npm, so {SCHEMA.relative_to(ROOT)} stays as it is.", file=sys.stderr)  # noqa: T201
        return 0
    if not (GENERATORS / "node_modules").exists():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=GENERATORS, check=True)
    SCHEMA.write_text(schema(present_document()))
    return 0


def schema(document: dict[str, Any]) -> str:
    """The file as it should be. Needs the packages of tests/kit/generators."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "openapi.json", Path(folder) / "schema.ts"
        source.write_text(json.dumps(without_prose(document)))
        subprocess.run(["node", "make_types.mjs", source, output], cwd=GENERATORS, check=True)
        return head(document) + output.read_text()


def head(document: dict[str, Any]) -> str:
    """The file's first line: it tells whether the file is of this document, without Node."""
    text = json.dumps(without_prose(document) | {"info": None}, sort_keys=True)
    return HEAD.format(digest=hashlib.sha256(text.encode()).hexdigest())


def without_prose(part: Any, *, names: bool = False) -> Any:
    """Without texts for people, on which no type depends. The keys of an object of `names` are names of fields."""
    if isinstance(part, list):
        return [without_prose(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: without_prose(value, names=key == "properties" and not names)
        for key, value in part.items()
        if names or key not in PROSE
    }


if __name__ == "__main__":
    sys.exit(main())
