"""The published packages, built as by `make dist` from a checkout with stray files."""

import email
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from check_docs import tracked_files
from dist import build
from gallery import __version__
from gallery_processes import base_environment

ROOT = Path(__file__).resolve().parents[2]
NAME = f"gallery_api-{__version__}"
CLIENT_NAME = f"gallery_client-{__version__}"
CLIENT_FOLDER = "clients/python/src/"
LEFTOVERS = ("photo.jpg", "lake.webp", "notes.txt", "docs/draft.md", "tests/secret.env", "migrations/x.pyc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    checkout = tmp_path_factory.mktemp("checkout")
    for path in tracked_files():
        copy = checkout / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for name in LEFTOVERS:
        (checkout / name).write_text("left behind")
    return build(checkout)


@pytest.fixture(scope="module")
def in_wheel(folder) -> zipfile.ZipFile:
    return zipfile.ZipFile(folder / f"{NAME}-py3-none-any.whl")


@pytest.fixture(scope="module")
def client_wheel(folder) -> zipfile.ZipFile:
    return zipfile.ZipFile(folder / f"{CLIENT_NAME}-py3-none-any.whl")


@pytest.fixture(scope="module")
def metadata(in_wheel):
    return email.message_from_bytes(in_wheel.read(f"{NAME}.dist-info/METADATA"))


def test_the_sdist_has_only_the_files_of_a_build(folder):
    with tarfile.open(folder / f"{NAME}.tar.gz") as sdist:
        names = {name.removeprefix(f"{NAME}/") for name in sdist.getnames()}
    at_top = {name for name in names if "/" not in name}
    assert at_top == {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "PKG-INFO", ".gitignore"}
    tracked = {str(path.relative_to(ROOT)) for path in tracked_files()}
    packed = ("src/gallery/", f"{CLIENT_FOLDER}gallery_client/", "migrations/")
    assert names - at_top == {name for name in tracked if name.startswith(packed)}


def test_the_wheel_holds_the_package_its_migrations_and_the_client(in_wheel):
    tracked = {str(path.relative_to(ROOT)) for path in tracked_files()}
    package = {name.removeprefix("src/") for name in tracked if name.startswith("src/gallery/")}
    migrations = {f"gallery/{name}" for name in tracked if name.startswith("migrations/")}
    client = {name.removeprefix(CLIENT_FOLDER) for name in tracked if name.startswith(CLIENT_FOLDER)}
    names = {name for name in in_wheel.namelist() if ".dist-info/" not in name}
    assert names == package | migrations | client


def test_the_wheel_installs_and_runs(in_wheel, tmp_path):
    pip("install", "--no-deps", "--target", tmp_path, in_wheel.filename)
    environment = {**base_environment(), "PYTHONPATH": str(tmp_path)}
    where = "import gallery; print(gallery.__file__)"
    assert run_output(sys.executable, "-c", where, environment=environment) == str(tmp_path / "gallery" / "__init__.py")
    gallery = tmp_path / "bin" / "gallery"
    assert run_output(gallery, "--version", environment=environment) == __version__
    assert run_output(gallery, "upload", "--help", environment=environment).startswith("usage: gallery upload")
    where = "import gallery_client; print(gallery_client.__file__)"
    client = str(tmp_path / "gallery_client" / "__init__.py")
    assert run_output(sys.executable, "-c", where, environment=environment) == client


def test_both_wheels_hold_the_same_client_and_may_be_installed_together(in_wheel, client_wheel, tmp_path):
    names = [name for name in client_wheel.namelist() if name.startswith("gallery_client/")]
    assert len(names) > 20
    assert {name: client_wheel.read(name) for name in names} == {name: in_wheel.read(name) for name in names}
    venv.create(tmp_path, symlinks=True)
    python = tmp_path / "bin" / "python"
    for wheel in (in_wheel, client_wheel):
        pip("--python", python, "install", "--no-deps", wheel.filename)
    code = "import gallery_client.cli.parser as p; print(p.__version__)"
    environment = {**base_environment(), "PYTHONPATH": sysconfig.get_path("purelib")}
    assert run_output(python, "-c", code, environment=environment) == __version__


def test_the_package_indexs_page_has_no_broken_links(metadata):
    page = metadata.get_payload()
    assert page.startswith("# Gallery")
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    repository = dict(each.split(", ") for each in metadata.get_all("Project-URL"))["Repository"]
    to_repository = [target for target in targets if target.startswith(repository)]
    assert len(to_repository) > 20
    assert [target for target in targets if not target.startswith("https://")] == []
    for target in to_repository:
        path = re.fullmatch(rf"{re.escape(repository)}/(?:blob|raw)/v{re.escape(__version__)}/([^#]+)(?:#.*)?", target)
        assert path, target
        assert (ROOT / path[1]).exists(), target


def test_the_metadata_has_the_fields_of_an_index(metadata):
    assert {each.split(", ")[0] for each in metadata.get_all("Project-URL")} >= {"Repository", "Changelog", "Issues"}
    assert metadata["Author"] == "The Gallery authors"
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    classifiers = metadata.get_all("Classifier")
    assert [f"3.{minor}" for minor in range(11, 15)] == [
        each.rpartition(" ")[2] for each in classifiers if re.search(r":: Python :: 3\.", each)
    ]


def test_both_packages_are_built(folder):
    names = {f"{name}{end}" for name in (NAME, CLIENT_NAME) for end in (".tar.gz", "-py3-none-any.whl")}
    assert {path.name for path in folder.iterdir() if path.name != ".gitignore"} == names


def test_the_clients_wheel_holds_the_package_and_the_license(client_wheel):
    tracked = {str(path.relative_to(ROOT)) for path in tracked_files()}
    package = {name.removeprefix(CLIENT_FOLDER) for name in tracked if name.startswith(CLIENT_FOLDER)}
    names = set(client_wheel.namelist())
    assert {name for name in names if ".dist-info/" not in name} == package
    assert f"{CLIENT_NAME}.dist-info/licenses/LICENSE" in names


def test_the_clients_wheel_runs_without_the_server(client_wheel, tmp_path):
    pip("install", "--no-deps", "--target", tmp_path, client_wheel.filename)
    code = "import gallery_client, sys; print(gallery_client.__version__, 'gallery' in sys.modules)"
    environment = {**base_environment(), "PYTHONPATH": str(tmp_path)}
    assert run_output(sys.executable, "-c", code, environment=environment) == f"{__version__} False"


def test_the_clients_page_has_no_broken_links(client_wheel):
    page = email.message_from_bytes(client_wheel.read(f"{CLIENT_NAME}.dist-info/METADATA")).get_payload()
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(targets) == 2
    for target in targets:
        path = re.fullmatch(rf"https://\S+/blob/v{re.escape(__version__)}/(\S+)", target)
        assert (ROOT / path[1]).is_file(), target


def run_output(*command: object, environment: dict[str, str]) -> str:
    args = list(map(str, command))
    return subprocess.run(args, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def pip(*args: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", *map(str, args)]
    subprocess.run(command, check=True, env=base_environment())
