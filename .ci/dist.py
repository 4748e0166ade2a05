"""Builds the published files: `make dist` writes the sdists and the wheels of the last commit into dist/: those of
Gallery, and those of its Python client; and the tarball of its JavaScript client.

Each sdist is built from a fresh copy of the commit, and the wheel from the sdist, so that no stray files get in. In the
copy the READMEs' links and pictures become absolute and lead to the version's tag, since a package index shows only
these pages.
"""

import io
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from check_release import written_version

ROOT = Path(__file__).resolve().parents[1]
CLIENT = "clients/python"
NPM_CLIENT = "clients/javascript"
LINK = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?P<target>[^)\s]+)\)")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(copy, filter="data")
        build(copy)
        pack_npm(copy)
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        shutil.copytree(copy / "dist", ROOT / "dist")


def build(source: Path) -> Path:
    """Returns the folder with the sdists and the wheels. Rewrites the READMEs in `source`."""
    shutil.copy(source / "LICENSE", source / CLIENT)
    for package in (".", CLIENT):
        _rewrite_readme(source, package)
        _build_package(source / package, source / "dist")
    return source / "dist"


def pack_npm(source: Path) -> None:
    """Adds the tarball of the JavaScript client, where npm is. Rewrites its README in `source`."""
    npm, folder = shutil.which("npm"), source / NPM_CLIENT
    if npm is None:
        print("There is no npm, so dist/ gets no tarball of the JavaScript client.", file=sys.stderr)  # noqa: T201
        return
    shutil.copy(source / "LICENSE", folder)
    _rewrite_readme(source, NPM_CLIENT)
    for command in (
        ("ci", "--ignore-scripts", "--no-audit", "--no-fund"),
        ("run", "build"),
        ("pack", "--silent", "--pack-destination", source / "dist"),
    ):
        subprocess.run([npm, *map(str, command)], cwd=folder, stdout=sys.stderr, check=True)


def _rewrite_readme(source: Path, package: str) -> None:
    readme = source / package / "README.md"
    tag = f"v{written_version(source)}"
    readme.write_text(with_absolute_links(readme.read_text(), repository(source), tag, package))


def _build_package(package: Path, dist: Path) -> None:
    before = set(dist.glob("*.tar.gz"))
    run_python("-m", "hatchling", "build", "-t", "sdist", "-d", dist, cwd=package)
    [sdist] = set(dist.glob("*.tar.gz")) - before
    run_python("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", dist, sdist, cwd=package)


def run_python(*args: object, cwd: Path) -> None:
    subprocess.run([sys.executable, *map(str, args)], cwd=cwd, check=True)


def repository(source: Path) -> str:
    return str(tomllib.loads((source / "pyproject.toml").read_text())["project"]["urls"]["Repository"])


def with_absolute_links(page: str, repository: str, tag: str, folder: str = ".") -> str:
    """The page of this folder, with an absolute URL for each link to a file of the repository."""

    def absolute(link: re.Match[str]) -> str:
        if re.match(r"[a-z]+:|#", link["target"]):
            return link[0]
        view = "raw" if link["picture"] else "blob"
        target = posixpath.normpath(posixpath.join(folder, link["target"]))
        return f"{link['picture']}{link['text']}({repository}/{view}/{tag}/{target})"

    return LINK.sub(absolute, page)


if __name__ == "__main__":
    main()
