"""The files of deploy/ agree with each other, with the settings, and with the documented names."""

import re
from pathlib import Path

import pytest
import yaml

from deploy.manifests import (
    DEPLOY,
    ROOT,
    assignments,
    compose,
    kubernetes,
    kustomization,
    manifests_of_kind,
    pod_environment,
    pods,
    secret_examples,
    units,
)
from gallery.settings import STOP_TIMEOUT_SECONDS, Settings, all_settings

SETTINGS = {entry.variable for entry in all_settings()}
OUR_SERVICES = ("api", "worker", "migrate")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def environment(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in compose()["services"][service]["environment"].items()}


def fill_in(value: str) -> str:
    """With a password for each required variable, and the default of the others."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", re.sub(r"\$\{\w+:\?[^}]*\}", "0a1b2c3d", value))


def config_map() -> dict[str, str]:
    return dict(manifests_of_kind("ConfigMap")["gallery"]["data"])


# --- documented names ------------------------------------------------------------------------------------------------


def test_images_deployments_and_database_have_documented_names():
    assert {compose()["services"][name]["image"] for name in OUR_SERVICES} == {"gallery-api"}
    assert {pod["containers"][0]["image"] for pod in pods().values()} == {"gallery-api"}
    assert {"gallery-api", "gallery-worker"} == set(manifests_of_kind("Deployment"))
    assert compose()["services"]["postgres"]["environment"]["POSTGRES_DB"] == "image_gallery"
    assert compose()["services"]["postgres"]["container_name"] == "gallery-postgres"
    for url in (environment("api")["DATABASE_URL"], secret_examples()["gallery"]["stringData"]["DATABASE_URL"]):
        assert url.endswith("/image_gallery")


def test_the_api_can_be_scaled():
    """`docker compose up --scale api=3`: only one container could have a fixed name or port."""
    api = compose()["services"]["api"]
    assert "container_name" not in api
    assert "ports" not in api
    assert api["deploy"]["replicas"] == 3
    assert "replicas" not in manifests_of_kind("Deployment")["gallery-api"]["spec"], "the autoscaler sets it"
    slots = re.search(r"server-template api- (\d+)", (DEPLOY / "haproxy" / "haproxy.cfg").read_text())
    assert slots
    assert int(slots[1]) >= 10


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", OUR_SERVICES)
def test_compose_sets_only_known_settings(service):
    assert set(environment(service)) <= SETTINGS
    assert Settings.read({name: fill_in(value) for name, value in environment(service).items()})


def test_the_example_of_compose_has_all_required_variables():
    required = set(re.findall(r"\$\{(\w+):[-?]", (DEPLOY / "compose.yaml").read_text()))
    assert required == set(assignments((DEPLOY / ".env.example").read_text()))


def test_examples_hold_no_secret():
    for line in (DEPLOY / ".env.example").read_text().splitlines():
        name, _, value = line.partition("=")
        assert not (value and name.endswith(("PASSWORD", "KEY", "SECRET"))), line


@pytest.mark.parametrize("name", ["gallery-api", "gallery-worker", "gallery-migrate"])
def test_kubernetes_sets_only_known_settings(name):
    given = pod_environment(name)
    assert set(given) <= SETTINGS
    assert Settings.read({**given, "GALLERY_PROXIES": "10.42.7.0/24"})


def test_systemd_and_the_image_set_only_known_settings():
    example = (DEPLOY / "systemd" / "gallery.env.example").read_text()
    assert set(assignments(example)) <= SETTINGS
    assert set(re.findall(r"\b(GALLERY_\w+)=", DOCKERFILE)) <= SETTINGS
    for text in units().values():
        assert set(re.findall(r"^Environment=(\w+)=", text, re.MULTILINE)) <= SETTINGS


# --- ports, probes and time -------------------------------------------------------------------------------------------


def test_ports_agree():
    balancer = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    assert environment("api")["PORT"] == "3000"
    assert "${BALANCER_API-api:3000}" in balancer
    assert compose()["services"]["balancer"]["ports"] == ["${BALANCER_ADDRESS:-127.0.0.1:3000}:3000"]
    assert "EXPOSE 3000" in DOCKERFILE
    for name, variable in (("gallery-api", "PORT"), ("gallery-worker", "GALLERY_WORKER__METRICS_PORT")):
        port = pods()[name]["containers"][0]["ports"][0]
        assert str(port["containerPort"]) == pod_environment(name)[variable]
    policies = manifests_of_kind("NetworkPolicy").values()
    rules = [rule for policy in policies for rule in policy["spec"].get("ingress", [])]
    allowed = {port["port"] for rule in rules for port in rule["ports"]}
    assert allowed == {3000, int(config_map()["GALLERY_WORKER__METRICS_PORT"])}


def test_prometheus_finds_every_instance():
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    found = {(name, sd["port"]) for job in jobs for sd in job["dns_sd_configs"] for name in sd["names"]}
    assert found == {("api", int(environment("api")["PORT"])),
                     ("worker", int(environment("worker")["GALLERY_WORKER__METRICS_PORT"]))}  # fmt: skip


def test_each_process_has_time_to_stop():
    """The drain, the time for open requests, and a reserve."""
    seconds = compose()["services"]["api"]["stop_grace_period"]
    assert (
        int(seconds.removesuffix("s")) >= float(environment("api")["GALLERY_SERVE__DRAIN"]) + STOP_TIMEOUT_SECONDS + 5
    )
    for name in ("gallery-api", "gallery-worker"):
        drain = float(pod_environment(name).get("GALLERY_SERVE__DRAIN", 0))
        assert pods()[name]["terminationGracePeriodSeconds"] >= drain + STOP_TIMEOUT_SECONDS + 5
    example = (DEPLOY / "systemd" / "gallery.env.example").read_text()
    drain = float(re.search(r"GALLERY_SERVE__DRAIN=(\d+)", example)[1])  # type: ignore[index]
    for name in ("gallery-api.service", "gallery-worker.service"):
        stop = re.search(r"TimeoutStopSec=(\d+)s", units()[name])
        assert float(stop[1]) >= drain + STOP_TIMEOUT_SECONDS + 5  # type: ignore[index]


def test_every_probe_uses_an_existing_route():
    for name in ("gallery-api", "gallery-worker"):
        container = pods()[name]["containers"][0]
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"].partition("?")[0] for kind in
                 ("startup", "liveness", "readiness")}  # fmt: skip
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_only_the_balancer_may_set_the_client_address():
    """The network in GALLERY_PROXIES holds only it and the servers."""
    (network,) = compose()["networks"]["default"]["ipam"]["config"]
    assert environment("api")["GALLERY_PROXIES"] == network["subnet"]


# --- minimal privileges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gallery-api", "gallery-worker", "gallery-migrate"])
def test_pods_have_minimal_privileges(name):
    pod = pods()[name]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


@pytest.mark.parametrize("service", OUR_SERVICES)
def test_containers_have_minimal_privileges(service):
    found = compose()["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["deploy"]["resources"]["limits"]["memory"]


def test_user_ids_agree():
    image = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert image
    for pod in pods().values():
        context = pod["securityContext"]
        assert (str(context["runAsUser"]), str(context["runAsGroup"])) == image.groups()


def test_servers_have_a_healthcheck_and_are_waited_for():
    services = compose()["services"]
    for name in ("postgres", "valkey", "s3", "balancer"):
        assert services[name]["healthcheck"]["test"]
    for name in ("api", "worker"):
        conditions = {other: how["condition"] for other, how in services[name]["depends_on"].items()}
        assert conditions.pop("migrate") == "service_completed_successfully"
        assert conditions == dict.fromkeys(("postgres", "valkey", "s3"), "service_healthy")
    assert {name for name, service in services.items() if "restart" not in service} == set()
    eviction = services["valkey"]["command"]
    assert eviction[eviction.index("--maxmemory-policy") + 1] == "noeviction"
    assert eviction[eviction.index("--appendonly") + 1] == "yes"


# --- named files exist ------------------------------------------------------------------------------------------------


def test_every_named_file_exists():
    mounted = [DEPLOY / volume.split(":")[0] for service in compose()["services"].values()
               for volume in service.get("volumes", []) if volume.startswith("./")]  # fmt: skip
    contexts = [
        DEPLOY / service["build"]["context"] for service in compose()["services"].values() if "build" in service
    ]
    copied = [ROOT / name for line in re.findall(r"^COPY ([^-].*)$", DOCKERFILE, re.MULTILINE) for name in
              line.split()[:-1]]  # fmt: skip
    named = {str(path.resolve().relative_to(ROOT)): path for path in [*mounted, *contexts, *copied]}
    assert [name for name, path in named.items() if not path.exists()] == []
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {str(path.relative_to(ROOT)) for path in copied}


def test_the_kustomization_is_complete():
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert files == {*kustomization()["resources"], "kustomization.yaml", "secret.example.yaml"}
    accounts = {pod["serviceAccountName"] for pod in pods().values()}
    assert accounts == set(manifests_of_kind("ServiceAccount"))
    labels = {found["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
              for found in manifests_of_kind("Deployment", "Job").values()}  # fmt: skip
    for found in kubernetes():
        selector = found["spec"].get("selector", {}) if found["kind"] in ("Service", "PodDisruptionBudget") else {}
        assert set(selector.get("matchLabels", selector).values()) <= labels
    assert (
        manifests_of_kind("HorizontalPodAutoscaler")["gallery-api"]["spec"]["scaleTargetRef"]["name"] == "gallery-api"
    )
    backend = manifests_of_kind("Ingress")["gallery"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] in manifests_of_kind("Service")


def test_units_run_existing_commands():
    commands = {re.search(r"^ExecStart=(.+)$", text, re.MULTILINE)[1] for text in units().values()}  # type: ignore[index]
    assert commands == {f"/opt/gallery/bin/gallery {word}" for word in ("serve", "worker", "migrate")}
    assert "/opt/gallery/bin" in DOCKERFILE
    assert Path(DEPLOY / "systemd" / "gallery.env.example").is_file()


def test_keda_scales_the_workers_by_the_apis_number():
    documents = yaml.safe_load_all((DEPLOY / "keda" / "scaledobject.yaml").read_text())
    scaled = next(found for found in documents if found["kind"] == "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] in manifests_of_kind("Deployment")
    host, port = re.findall(r"//([\w-]+)\.gallery[^:/]*:(\d+)/", str(scaled["spec"]["triggers"]))[0]
    assert manifests_of_kind("Service")[host]["spec"]["ports"][0]["port"] == int(port)
