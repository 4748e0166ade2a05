"""Checks the files for Docker, Kubernetes, GitHub and systemd with their published schemas and tools.

None of these tools runs here; tests/containers runs the files as far as that works without Docker (docs/deployment.md).
"""

import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest

from deploy.manifests import DEPLOY, ROOT, kubernetes, secret_examples, units

BIN = Path(sys.executable).parent
OLDEST, NEWEST = "1.32", "1.37"  # of Kubernetes, as far as the validator has them


def run_successfully(*line: object) -> None:
    args = [str(arg) for arg in line]
    done = subprocess.run(args, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose():
    run_successfully(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_workflows():
    for path in (ROOT / ".github" / "workflows").iterdir():
        run_successfully(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes(version):
    for manifest in [*kubernetes(), *secret_examples().values()]:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_dockerfile():
    run_successfully(BIN / "hadolint", "--failure-threshold", "style", "Dockerfile")


def test_shell_scripts_parse():
    for path in (DEPLOY / "postgres").glob("*.sh"):
        run_successfully("sh", "-n", path)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_units(tmp_path):
    """Verified with a command that is there, and exposed no more than systemd itself calls OK."""
    for name, text in units().items():
        (tmp_path / name).write_text(text.replace("/opt/gallery/bin/gallery", "/bin/true"))
    for name in units():
        run_successfully("systemd-analyze", "verify", tmp_path / name)
        run_successfully("systemd-analyze", "security", "--offline=true", "--threshold=20", tmp_path / name)


def test_the_load_balancer():
    """tests/faults/test_balancer.py runs it; here are the defaults that the compose file leaves as they are."""
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if haproxy is None:
        pytest.skip("There is no load balancer here: please install haproxy.")
    run_successfully(haproxy, "-c", "-f", DEPLOY / "haproxy" / "haproxy.cfg")
