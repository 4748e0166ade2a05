"""The CI pipeline: its jobs, its order and its permissions."""

import os
import re
import subprocess

import pytest
import yaml

import check_wheels
from deploy.manifests import ROOT

TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
PIPELINE = yaml.safe_load(TEXT)
JOBS = PIPELINE["jobs"]


def test_main_and_develop_are_linted_tested_and_built():
    assert PIPELINE[True]["push"]["branches"] == ["main", "develop"]  # YAML 1.1 reads `on` as a truth
    assert set(JOBS["image"]["needs"]) == {"lint", "build", "test"}
    assert "make lint wheels" in steps("lint")
    assert "make dist" in steps("build")
    assert "make test" in steps("test")
    assert "docker build" in steps("image")


def test_the_suite_runs_on_every_supported_python_and_machine():
    assert JOBS["test"]["strategy"]["matrix"] == {
        "python": check_wheels.pythons(),
        "runner": ["ubuntu-24.04", "ubuntu-24.04-arm"],
    }


def test_only_a_checked_tag_is_published_after_an_optional_approval():
    release = JOBS["release"]
    assert set(release["needs"]) == {"lint", "build", "test", "kit", "containers"}
    assert release["if"] == "github.event_name == 'push' && github.ref_type == 'tag'"
    assert release["environment"] == "pypi"
    checked, _, made = JOBS["build"]["steps"][2:5]
    assert (checked["if"], made["run"]) == ("github.ref_type == 'tag'", "make dist")
    assert checked["run"].startswith("python .ci/check_release.py ")
    kept = next(step for step in JOBS["build"]["steps"] if "upload-artifact" in step.get("uses", ""))["with"]
    fetched, attested = release["steps"][2:4]
    assert (kept, fetched["with"]) == ({"name": "dist", "path": "dist/*"}, {"name": "dist", "path": "dist"})
    assert attested["with"] == {"subject-path": "dist/*"}
    assert "uv publish --trusted-publishing always dist/*.tar.gz dist/*.whl" in steps("release")


def test_the_javascript_client_is_published_beside_it():
    released, beside = JOBS["release-npm"], JOBS["release"]
    assert (released["needs"], released["if"]) == (beside["needs"], beside["if"])
    assert released["environment"] == "npm"
    assert released["steps"][1]["with"] == {"name": "dist", "path": "dist"}
    assert "npm publish ./dist/gallery-client-*.tgz --provenance" in steps("release-npm")
    assert "make kit-test" in steps("kit")


@pytest.mark.parametrize(("name", "tag"), [("v1.2.3", "latest"), ("v1.3.0-rc.1", "next")])
def test_a_pre_release_is_not_the_latest_package(name, tag, tmp_path):
    """Runs the step itself, with an npm that prints its arguments."""
    (tmp_path / "npm").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "npm").chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_REF_NAME": name}
    shell = ["bash", "-e", "-o", "pipefail", "-c", steps("release-npm")]
    done = subprocess.run(shell, check=True, capture_output=True, text=True, env=given, cwd=tmp_path, timeout=30)
    assert done.stdout.strip().endswith(f"--provenance --access public --tag {tag}")


def test_publishing_tools_are_pinned_by_hash(tmp_path):
    """The line itself, which takes one package out of the lock file."""
    [line] = [line for line in steps("release").splitlines() if line.startswith("sed ")]
    shell = f"cd {ROOT}; RUNNER_TEMP={tmp_path}; {line}"
    subprocess.run(["bash", "-ec", shell], check=True, timeout=30)
    lines = (tmp_path / "uv.lock").read_text().splitlines()
    assert re.fullmatch(r"uv==\S+ \\", lines[0])
    assert len(lines) > 1
    assert [line for line in lines[1:] if not line.startswith("    --hash=sha256:")] == []


def test_only_main_is_deployed_after_an_optional_approval():
    deploy = JOBS["deploy"]
    assert deploy["needs"] == "publish"
    assert "gallery-api=$IMAGE@$DIGEST" in steps("deploy"), "the built image is deployed by its digest"
    assert "github.ref == 'refs/heads/main'" in deploy["if"]
    assert "github.event_name == 'push'" in deploy["if"]
    assert deploy["environment"] == "production"
    assert [name for name in JOBS if "secrets." in str(JOBS[name])] == ["deploy"]


def test_the_base_with_its_placeholders_is_never_deployed():
    assert 'kubectl apply --kustomize "$KUSTOMIZATION"' in steps("deploy")
    assert "deploy/kubernetes" not in steps("deploy")


def test_the_image_is_built_for_both_architectures_with_an_sbom():
    parts = [entry["architecture"] for entry in JOBS["image"]["strategy"]["matrix"]["include"]]
    assert parts == ["amd64", "arm64"]
    assert "--sbom=true --provenance=mode=max" in steps("image")
    assert all(f"$GITHUB_SHA-{part}" in steps("publish") for part in parts)
    assert set(JOBS["publish"]["needs"]) == {"image", "containers"}
    assert "make container-test" in steps("containers")


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("branch", "main", ["main"]),
        ("branch", "develop", ["develop"]),
        ("tag", "v1.2.3", ["1.2.3", "1.2", "latest"]),
        ("tag", "v1.3.0-rc.1", ["1.3.0-rc.1"]),
    ],
)
def test_an_image_is_named_after_its_version(kind, name, expected, tmp_path):
    """Runs the step itself, with a Docker that prints its arguments."""
    (tmp_path / "docker").write_text('#!/bin/sh\n[ "$1" != login ] || cat >/dev/null\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IMAGE": "ghcr.io/o/gallery-api", "GITHUB_SHA": "abc",
             "GITHUB_REF_TYPE": kind, "GITHUB_REF_NAME": name, "TOKEN": "t", "GITHUB_ACTOR": "a",
             "GITHUB_OUTPUT": str(tmp_path / "output")}  # fmt: skip
    shell = ["bash", "-e", "-o", "pipefail", "-c", steps("publish")]
    done = subprocess.run(shell, check=True, capture_output=True, text=True, env=given, timeout=30)
    (line,) = [line for line in done.stdout.splitlines() if "imagetools create" in line]
    assert re.findall(r"--tag[ =]ghcr.io/o/gallery-api:(\S+)", line) == ["abc", *expected]
    assert line.endswith("ghcr.io/o/gallery-api:abc-amd64 ghcr.io/o/gallery-api:abc-arm64")


def test_only_the_image_job_may_write_its_package():
    assert PIPELINE["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job} == {
        "image": {"contents": "read", "packages": "write"},
        "publish": {"packages": "write"},
        "release": {"contents": "read", "id-token": "write", "attestations": "write"},
        "release-npm": {"contents": "read", "id-token": "write"},
    }
    checkouts = [step for job in JOBS.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert len(checkouts) == len(JOBS) - 2  # publish and release-npm need no file of the repository
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_actions_are_pinned():
    used = re.findall(r"uses: (\S+)", TEXT)
    assert used
    assert [action for action in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action)] == []


def test_no_script_contains_untrusted_text():
    """An expression inside a script is text that its author runs; scripts get the environment's variables instead."""
    assert [step["run"] for job in JOBS.values() for step in job["steps"] if "${{" in step.get("run", "")] == []


def steps(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])
