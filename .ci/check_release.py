"""Checks a tag before its release: `python .ci/check_release.py TAG ADDRESS` prints each disagreement.

ADDRESS is the repository's. The pipeline runs it before it builds a tag, so that a wrong tag publishes no package and
no image.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVER = "src/gallery/__init__.py"
CLIENT = "clients/python/src/gallery_client/__init__.py"
NPM_PACKAGE = "clients/javascript/package.json"
NPM_LOCK = "clients/javascript/package-lock.json"
BASELINE = "docs/openapi.json"
VERSION = re.compile(r"\d+\.\d+\.\d+(-(a|b|rc)\.\d+)?")  # valid for package indexes too


def main(tag: str, repository: str) -> int:
    found = list(problems(ROOT, tag, repository))
    for line in found:
        print(line)  # noqa: T201
    return 1 if found else 0


def problems(source: Path, tag: str, repository: str) -> Iterator[str]:
    version = written_version(source)
    if tag != f"v{version}":
        yield f"The tag is {tag}, but {SERVER} has {version}."
    for path, other in other_versions(source).items():
        if other != version:
            yield f"{path} has {other}, but {SERVER} has {version}."
    if not VERSION.fullmatch(version):
        yield f"The version {version} is not like 1.2.3 or 1.2.3-rc.1."
    if not re.search(
        rf"^## \[{re.escape(version)}\] — \d{{4}}-\d\d-\d\d$", (source / "CHANGELOG.md").read_text(), re.MULTILINE
    ):
        yield f"CHANGELOG.md has no heading `## [{version}] — ` with the date of the release."
    address = tomllib.loads((source / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    if address != repository:
        yield f"The repository in pyproject.toml is {address}, but this is {repository}."


def other_versions(source: Path) -> dict[str, str]:
    """The versions that follow the server's: of the clients, and of the API that the next changes are compared with."""
    package, lock, document = (json.loads((source / path).read_text()) for path in (NPM_PACKAGE, NPM_LOCK, BASELINE))
    locked = {lock["version"], lock["packages"][""]["version"]}
    return {
        CLIENT: written_version(source, CLIENT),
        NPM_PACKAGE: package["version"],
        NPM_LOCK: " and ".join(sorted(locked)),
        BASELINE: document["info"]["version"],
    }


def written_version(source: Path, path: str = SERVER) -> str:
    found = re.search(r'^__version__ = "(.+)"$', (source / path).read_text(), re.MULTILINE)
    if not found:
        raise ValueError(f"{path} has no __version__")
    return found[1]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
