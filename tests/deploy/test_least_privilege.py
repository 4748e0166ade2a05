"""No default of deploy/ is open, and no process gets a secret that it does not need."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from deploy.manifests import (
    DEPLOY,
    assignments,
    compose,
    kubernetes,
    kustomization,
    manifests_of_kind,
    pod_environment,
    units,
)
from gallery import __version__
from gallery.errors import Misconfigured
from gallery.settings import SECRETS, Settings, all_settings

VERIFICATION_SECRETS = {"GALLERY_ACCESS__JWT_SECRET", "GALLERY_ACCESS__SIGNING_KEYS"}
SECRET_SETTINGS = {entry.variable for entry in all_settings() if entry.path in SECRETS}
PLACEHOLDER = re.compile(r"<[^<>]+>")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")  # a label's value in Kubernetes


# --- secrets ----------------------------------------------------------------------------------------------------------


def secrets_of(given: dict[str, str]) -> set[str]:
    return set(given) & SECRET_SETTINGS


def test_compose_gives_workers_and_migrations_no_more_secrets_than_they_need():
    services = compose()["services"]
    api, worker, migrate = (secrets_of(services[name]["environment"]) for name in ("api", "worker", "migrate"))
    assert worker == {"DATABASE_URL", "REDIS_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY"}
    assert api == worker | {"GALLERY_ACCESS__JWT_SECRET"}
    assert migrate == {"DATABASE_URL"}


def test_kubernetes_gives_workers_and_migrations_no_more_secrets_than_they_need():
    api, worker, migrate = (secrets_of(pod_environment(f"gallery-{name}")) for name in ("api", "worker", "migrate"))
    assert worker == {"DATABASE_URL", "REDIS_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY"}
    assert api == worker | {"GALLERY_ACCESS__JWT_SECRET"}
    assert migrate == {"DATABASE_URL"}


def test_systemd_gives_only_the_api_the_verification_secrets():
    files = {name: re.findall(r"^EnvironmentFile=-?(\S+)$", text, re.MULTILINE) for name, text in units().items()}
    assert files.pop("gallery-api.service") == ["/etc/gallery/gallery.env", "/etc/gallery/gallery-api.env"]
    assert all(found == ["/etc/gallery/gallery.env"] for found in files.values())
    example = (DEPLOY / "systemd" / "gallery.env.example").read_text()
    assert not VERIFICATION_SECRETS & set(assignments(example))


def test_verification_and_signing_settings_are_secret():
    assert VERIFICATION_SECRETS <= SECRET_SETTINGS


def test_compose_requires_every_password():
    """With an empty one, a server would use its own default or no password."""
    needed = re.compile(r"\$\{\w+:\?[^}]+\}")
    optional = {"GALLERY_ACCESS__JWT_SECRET", "DD_API_KEY"}  # without it: no bearer tokens, no agent
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if variable in optional or not variable.endswith(("PASSWORD", "KEY", "SECRET", "KEY_ID", "AUTH")):
                continue
            assert needed.fullmatch(str(value)), f"{variable} of {name}"


# --- placeholders -----------------------------------------------------------------------------------------------------


def test_network_policies_let_in_named_namespaces_only():
    labels = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for policy in manifests_of_kind("NetworkPolicy").values()
        for rule in policy["spec"].get("ingress", [])
        for peer in rule["from"]
    ]
    assert len(labels) == 3
    for label in labels:
        assert PLACEHOLDER.fullmatch(label)
        assert not LABEL.fullmatch(label), "Kubernetes would accept it"


def test_no_pod_starts_without_proxies():
    for name in ("gallery-api", "gallery-worker"):
        with pytest.raises(Misconfigured, match="GALLERY_PROXIES"):
            Settings.read(pod_environment(name))


def test_the_example_sets_every_placeholder_of_the_base():
    """Applies the JSON patches of the example; tests/containers runs Kustomize itself."""
    patches = yaml.safe_load((DEPLOY / "kubernetes-example" / "kustomization.yaml").read_text())["patches"]
    found = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in kubernetes()}
    assert PLACEHOLDER.search(json.dumps(list(found.values())))
    for patch in patches:
        for operation in yaml.safe_load(patch["patch"]):
            *parents, last = operation["path"].strip("/").split("/")
            inner = found[patch["target"]["kind"], patch["target"]["name"]]
            for word in parents:
                inner = inner[int(word) if word.isdigit() else word]
            last = int(last) if last.isdigit() else last
            assert inner[last], operation
            inner[last] = operation["value"]
    assert PLACEHOLDER.findall(json.dumps(list(found.values()))) == []


def test_images_have_versions():
    example = yaml.safe_load((DEPLOY / "kubernetes-example" / "kustomization.yaml").read_text())
    for found in (kustomization(), example):
        assert [(image["name"], image["newTag"]) for image in found["images"]] == [("gallery-api", __version__)]
    for name, service in compose()["services"].items():
        if "build" not in service:
            assert re.search(r":v?\d[\w.-]*$", service["image"]), name


# --- Bull Board -------------------------------------------------------------------------------------------------------

REFUSAL_SCRIPT = """
import { refusal } from "%s";
const requests = JSON.parse(process.argv[1]);
console.log(JSON.stringify(requests.map((headers) => refusal(headers) ?? null)));
"""
ALLOWED = [
    {"host": "127.0.0.1:3001"},
    {"host": "localhost:3001"},
    {"host": "LocalHost"},
    {"host": "[::1]:3001"},
    {"host": "127.0.0.1:3001", "origin": "http://127.0.0.1:3001"},
]
REBOUND = [
    {},
    {"host": ""},
    {"host": "rebound.example.org:3001"},
    {"host": "127.0.0.1.example.org:3001"},
    {"host": "localhost.example.org"},
    {"host": "localhost@example.org"},
    {"host": "192.168.1.7:3001"},
]
CROSS_ORIGIN = [
    {"host": "127.0.0.1:3001", "origin": "https://example.org"},
    {"host": "127.0.0.1:3001", "origin": "http://127.0.0.1:8080"},
    {"host": "127.0.0.1:3001", "origin": "null"},
]


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node.js here")
def test_bull_board_answers_only_its_own_pages_on_loopback():
    script = REFUSAL_SCRIPT % (DEPLOY / "bull-board" / "loopback.js").as_uri()
    requests = json.dumps([*ALLOWED, *REBOUND, *CROSS_ORIGIN])
    node = ["node", "--input-type=module", "--eval", script, requests]
    done = subprocess.run(node, check=True, capture_output=True, text=True, timeout=30)
    answers = json.loads(done.stdout)
    assert answers[: len(ALLOWED)] == [None] * len(ALLOWED)
    for answer in answers[len(ALLOWED) : -len(CROSS_ORIGIN)]:
        assert "loopback" in answer
    for answer in answers[-len(CROSS_ORIGIN) :]:
        assert "other sites" in answer


def test_bull_board_checks_before_it_answers():
    server = (DEPLOY / "bull-board" / "server.js").read_text()
    assert server.index("app.use(loopbackOnly)") < server.index('app.use("/"')
    (copied,) = re.findall(
        r"^COPY (.*\.js) ", compose()["services"]["bull-board"]["build"]["dockerfile_inline"], re.MULTILINE
    )
    assert set(copied.split()) == {path.name for path in (DEPLOY / "bull-board").glob("*.js")}
