"""Three public generators make clients of the served OpenAPI document. Each passes a strict type checker, and then
uploads, lists, reads, edits and deletes an image of a Gallery that wants a credential, and reads typed problems.
"""

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import gallery_processes
import photos
from credentials import JWT_SECRET, make_token
from kit.packages import install_npm, install_python, run
from make_schema import SCHEMA, schema

FOLDER = Path(__file__).parent / "generators"


@dataclass(frozen=True)
class Server:
    """A running Gallery, its document as a file, and a credential."""

    url: str
    document: Path
    token: str

    def environment(self, photo: Path) -> dict[str, str]:
        return {"GALLERY_URL": self.url, "TOKEN": self.token, "PHOTO": str(photo)}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    environment = gallery_processes.base_environment() | {"GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}
    async with gallery_processes.dev(environment, folder) as running:
        document = folder / "openapi.json"
        async with httpx.AsyncClient(base_url=running.url) as client:
            document.write_bytes((await client.get("/api/openapi.json")).content)
        yield Server(running.url, document, make_token())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "lake.jpg"
    path.write_bytes(photos.a_jpeg(64, 48, seed=len(tmp_path.name)))
    return path


@pytest.fixture
async def project(tmp_path: Path) -> Path:
    """A project in TypeScript with the packages of npm."""
    modules = await install_npm(FOLDER)
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("tsconfig.json", "package.json", "hey_api.config.mjs", "make_types.mjs"):
        shutil.copy(FOLDER / name, folder)
    (folder / "node_modules").symlink_to(modules)
    return folder


def check(output: str, photo: Path, server: Server) -> dict:
    """What the program has printed, and that it did it here."""
    done = json.loads(output)
    assert done["duplicate"] is False
    assert done["uploaded"] in done["listed"]
    assert (done["tags"], done["title"]) == (["kit", "lake"], "Lake at dawn")
    assert done["size"] == photo.stat().st_size
    assert done["problem"] == {"code": "image_not_found", "status": 404}
    assert done["field"] == "/title"
    there = httpx.get(
        f"{server.url}/api/v1/images/{done['uploaded']}", headers={"Authorization": f"Bearer {server.token}"}
    )
    assert there.status_code == 404
    return done


async def test_hey_api(server, project, photo):
    """Its functions have the names of the operations, and its stream yields typed events."""
    binaries = project / "node_modules" / ".bin"
    environment = {"DOCUMENT": str(server.document), "OUTPUT": str(project / "hey")}
    written = await run(binaries / "openapi-ts", "-f", "hey_api.config.mjs", cwd=project, **environment)
    assert "warn" not in written.lower()
    shutil.copy(FOLDER / "hey_api.ts", project)
    await run(binaries / "tsc", "-p", ".", cwd=project)
    done = check(await run("node", "out/hey_api.js", cwd=project, **server.environment(photo)), photo, server)
    assert done["event"] == done["uploaded"]


async def test_openapi_typescript_with_openapi_fetch(server, project, photo):
    await run("node", "make_types.mjs", server.document, "schema.ts", cwd=project)
    shutil.copy(FOLDER / "openapi_fetch.ts", project)
    await run(project / "node_modules" / ".bin" / "tsc", "-p", ".", cwd=project)
    check(await run("node", "out/openapi_fetch.js", cwd=project, **server.environment(photo)), photo, server)


async def test_openapi_python_client(server, tmp_path, photo):
    """It writes all operations, those of tus too, without a warning."""
    binaries = await install_python(FOLDER / "requirements.lock", tmp_path / "venv")
    config, output = FOLDER / "openapi_python_client.yaml", tmp_path / "gallery_generated"
    options = ("--meta", "none", "--output-path", output, "--config", config, "--fail-on-warning")
    await run(binaries / "openapi-python-client", "generate", "--path", server.document, *options, cwd=tmp_path)
    shutil.copy(FOLDER / "use_python_client.py", tmp_path)
    await run(binaries / "mypy", "--strict", "use_python_client.py", output, cwd=tmp_path)
    output = await run(binaries / "python", "use_python_client.py", cwd=tmp_path, **server.environment(photo))
    check(output, photo, server)


async def test_the_types_of_the_javascript_client_are_up_to_date(server):
    """`make docs` writes them. In `make test`, a digest of the document in the first line tells the same."""
    await install_npm(FOLDER)
    assert schema(json.loads(server.document.read_text())) == SCHEMA.read_text()
