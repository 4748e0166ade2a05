"""The JavaScript client as npm gets it: its files, its size, types for each way of importing it; and that the types
written by hand agree with the API's.
"""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import javascript_client
from make_schema import SCHEMA, head

FOLDER = javascript_client.FOLDER
MAX_PACKED_BYTES = 90_000
TIMEOUT_SECONDS = 240  # attw unpacks and compiles all entries


@pytest.fixture(scope="module")
def tarball(tmp_path_factory) -> Path:
    """Packed from a copy, so that other tests may build meanwhile."""
    javascript_client.build()
    copy = tmp_path_factory.mktemp("package")
    for name in ("package.json", "README.md"):
        shutil.copy(FOLDER / name, copy)
    shutil.copytree(javascript_client.DIST, copy / "dist")
    shutil.copy(FOLDER.parents[1] / "LICENSE", copy)
    subprocess.run(["npm", "pack", "--silent", "--ignore-scripts"], cwd=copy, check=True, timeout=TIMEOUT_SECONDS)
    [packed] = copy.glob("*.tgz")
    return packed


def node(program: str, *arguments: object, cwd: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    command = [javascript_client.NODE, FOLDER / "node_modules" / program, *arguments]
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )


def test_the_tarball_has_what_is_exported_and_no_more(tarball):
    with tarfile.open(tarball) as packed:
        names = {name.removeprefix("package/") for name in packed.getnames()}
    exports = json.loads((FOLDER / "package.json").read_text())["exports"].values()
    targets = {path.removeprefix("./") for entry in exports if isinstance(entry, dict) for path in entry.values()}
    assert targets <= names
    assert {"package.json", "README.md", "LICENSE"} <= names
    assert [name for name in names if "/" in name and not name.endswith((".js", ".d.ts"))] == []
    assert [name for name in names if "schema" in name or "test" in name] == []
    assert tarball.stat().st_size < MAX_PACKED_BYTES


@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_every_way_to_import_it_has_types(tarball):
    wrong = node("@arethetypeswrong/cli/dist/index.js", tarball, "--profile", "esm-only", "--no-color")
    assert wrong.returncode == 0, wrong.stdout + wrong.stderr


def test_publint_has_nothing_to_say(tarball):
    linted = node("publint/src/cli.js", "run", tarball, "--strict")
    assert linted.returncode == 0, linted.stdout + linted.stderr


async def test_the_types_of_the_api_are_of_the_present_document(client):
    """If not: `make docs`. The whole file is compared in `make kit-test`."""
    document = (await client.get("/api/openapi.json")).json()
    assert SCHEMA.read_text().splitlines(keepends=True)[0] == head(document)


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ("  sha256: string;\n", ""),
        ("  width: number | null;\n", "  width: number;\n"),
        ('  fit?: "inside" | "cover" | "contain" | "fill";\n', '  fit?: "inside" | "cover" | "contain";\n'),
        ("  lane?: Lane;\n", "  lane?: string;\n"),
        ("  imageId?: string;\n  status?: Status;\n", "  status?: Status;\n"),
        ("", ""),
    ],
)
def test_a_type_that_differs_from_the_api_is_refused(field, instead, tmp_path):
    """The last case changes nothing: the types agree."""
    if javascript_client.NODE is None or not (FOLDER / "node_modules" / "typescript").is_dir():
        pytest.skip(javascript_client.REASON)
    (tmp_path / "src").mkdir()
    for name in ("tsconfig.json", "tsconfig.check.json", "package.json", "src/schema.ts", "src/schema.check.ts"):
        shutil.copy(FOLDER / name, tmp_path / name)
    types = (FOLDER / "src" / "types.ts").read_text()
    assert field in types
    (tmp_path / "src" / "types.ts").write_text(types.replace(field, instead))
    checked = node("typescript/bin/tsc", "-p", "tsconfig.check.json", cwd=tmp_path)
    assert (checked.returncode == 0) == (field == instead), checked.stdout
