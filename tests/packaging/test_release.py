"""A tag is published only when tag, version, changelog and address agree."""

import json
import shutil
import subprocess
import sys

import pytest

from check_release import BASELINE, CLIENT, NPM_LOCK, NPM_PACKAGE, ROOT, SERVER, problems
from gallery import __version__

HERE = "https://github.com/gallery-api/gallery-api"


@pytest.fixture
def source(tmp_path):
    """This version, as it stands when it is released."""
    for name in ("pyproject.toml", "CHANGELOG.md", SERVER, CLIENT, NPM_PACKAGE, NPM_LOCK, BASELINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    write(tmp_path, __version__, f"## [{__version__}] — 2026-12-01")
    return tmp_path


def write(source, version, heading):
    for name in (SERVER, CLIENT):
        (source / name).write_text(f'__version__ = "{version}"\n')
    for name in (NPM_PACKAGE, NPM_LOCK, BASELINE):
        set_version(source / name, version)
    (source / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")


def set_version(path, version):
    """In a package, a lock or a document."""
    content = json.loads(path.read_text())
    for part in (content, content.get("packages", {}).get("", {}), content.get("info", {})):
        if "version" in part:
            part["version"] = version
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("version", ["0.1.0", "1.2.3", "1.3.0-rc.1"])
def test_a_consistent_version_may_be_published(source, version):
    write(source, version, f"## [{version}] — 2026-12-01")
    assert list(problems(source, f"v{version}", HERE)) == []


@pytest.mark.parametrize("tag", ["v9.9.9", "1.2.3", "v1.2.3-rc.1"])
def test_a_tag_of_another_version_is_refused(source, tag):
    write(source, "1.2.3", "## [1.2.3] — 2026-12-01")
    assert list(problems(source, tag, HERE)) == [f"The tag is {tag}, but src/gallery/__init__.py has 1.2.3."]


def test_a_client_of_another_version_is_refused(source):
    (source / CLIENT).write_text('__version__ = "1.2.3"\n')
    [problem] = problems(source, f"v{__version__}", HERE)
    assert problem == f"{CLIENT} has 1.2.3, but {SERVER} has {__version__}."


@pytest.mark.parametrize("path", [NPM_PACKAGE, NPM_LOCK, BASELINE])
def test_another_part_of_another_version_is_refused(source, path):
    set_version(source / path, "1.2.3")
    [problem] = problems(source, f"v{__version__}", HERE)
    assert problem == f"{path} has 1.2.3, but {SERVER} has {__version__}."


def test_a_lock_of_two_versions_is_refused(source):
    lock = json.loads((source / NPM_LOCK).read_text())
    lock["packages"][""]["version"] = "1.2.3"
    (source / NPM_LOCK).write_text(json.dumps(lock))
    [problem] = problems(source, f"v{__version__}", HERE)
    assert problem == f"{NPM_LOCK} has {__version__} and 1.2.3, but {SERVER} has {__version__}."


def test_an_unreleased_changelog_is_refused(source):
    write(source, "1.2.3", "## [1.2.3] — unreleased")
    [problem] = problems(source, "v1.2.3", HERE)
    assert problem == "CHANGELOG.md has no heading `## [1.2.3] — ` with the date of the release."


@pytest.mark.parametrize("version", ["1.3.0rc1", "1.3", "1.3.0-snapshot"])
def test_an_ambiguous_version_is_refused(source, version):
    write(source, version, f"## [{version}] — 2026-12-01")
    assert list(problems(source, f"v{version}", HERE)) == [f"The version {version} is not like 1.2.3 or 1.2.3-rc.1."]


def test_another_repository_is_refused(source):
    [problem] = problems(source, f"v{__version__}", "https://github.com/another/gallery")
    assert problem.endswith("but this is https://github.com/another/gallery.")


def test_the_command_prints_the_problems():
    command = [sys.executable, ROOT / ".ci" / "check_release.py", "v9.9.9", HERE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "The tag is v9.9.9" in done.stdout) == (1, True)
