"""The files of deploy/ as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

Manifest = dict[str, Any]


def compose() -> Manifest:
    """With its anchors and merges resolved."""
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def kubernetes() -> list[Manifest]:
    """The manifests of the kustomization."""
    names = kustomization()["resources"]
    return [document for name in names for document in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())]


def kustomization() -> Manifest:
    return dict(yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text()))


def secret_examples() -> dict[str, Manifest]:
    """By name."""
    text = (DEPLOY / "kubernetes" / "secret.example.yaml").read_text()
    return {found["metadata"]["name"]: found for found in yaml.safe_load_all(text)}


def pod_environment(name: str) -> dict[str, str]:
    """The environment of its container, secrets by their example."""
    container = pods()[name]["containers"][0]
    given: dict[str, str] = {}
    for source in container.get("envFrom", []):
        ((kind, reference),) = source.items()
        given |= (
            manifests_of_kind("ConfigMap")[reference["name"]]["data"] if kind == "configMapRef" else _secret(reference)
        )
    for entry in container.get("env", []):
        secret = entry.get("valueFrom", {}).get("secretKeyRef")
        if secret is None:
            given[entry["name"]] = entry["value"]
        elif not secret.get("optional"):
            given[entry["name"]] = _secret(secret)[secret["key"]]
    return given


def _secret(reference: Manifest) -> dict[str, str]:
    return dict(secret_examples()[reference["name"]]["stringData"])


def manifests_of_kind(*kinds: str) -> dict[str, Manifest]:
    """By name."""
    return {found["metadata"]["name"]: found for found in kubernetes() if found["kind"] in kinds}


def pods() -> dict[str, Manifest]:
    """The pods by the name of their Deployment or Job."""
    return {name: found["spec"]["template"]["spec"] for name, found in manifests_of_kind("Deployment", "Job").items()}


def units() -> dict[str, str]:
    """By name the text of each systemd unit."""
    return {path.name: path.read_text() for path in sorted((DEPLOY / "systemd").glob("*.service"))}


def assignments(text: str) -> Iterator[str]:
    """The variables that an environment file sets, those that stand there as an example too."""
    for line in text.splitlines():
        name, sign, _ = line.removeprefix("# ").partition("=")
        if sign and name.isupper() and " " not in name:
            yield name
