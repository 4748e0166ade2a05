"""The checks of the machine, and the command `gallery doctor`."""

import json
import resource

import httpx
import pytest

from child_functions import unconfined_report
from doctor.findings import run_named_checks, verdict
from gallery.cli.doctor import exit_code
from gallery.doctor import machine
from gallery.doctor.checks import CHECKS
from gallery.doctor.model import Check, Finding, State, Verdict
from gallery_processes import base_environment, run_gallery


async def run_doctor(environment, folder, *args) -> tuple[int, list[dict]]:
    async with run_gallery({**base_environment(), **environment}, folder, "doctor", "--json", *args) as command:
        code = await command.process.wait()
        *found, summary = [json.loads(line) for line in command.log_text().splitlines() if '"event"' not in line]
        assert summary == {state: sum(finding["state"] == state for finding in found) for state in State}
        return code, found


async def test_all_checks_pass_beside_a_running_gallery(stack, tmp_path):
    code, found = await run_doctor({"GALLERY_DATA_DIR": str(stack.data)}, tmp_path / "logs")
    assert code == 0, found
    assert [finding["check"] for finding in found] == [check.name for check in CHECKS]
    states = {finding["check"]: finding["state"] for finding in found}
    servers = {states[name] for name in ("processes", "postgresql", "valkey", "permissions")}
    assert servers <= {"well", "notice"}, "notice: slow, when this machine is busy"
    assert found[0]["says"] == f"{stack.data}, in use by a running Gallery."


async def test_the_data_directory_is_reported_as_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, says = await verdict({}, "data-directory")
    assert (state, says.startswith(f"{tmp_path / 'data'}: the directory does not exist.")) == ("notice", True)
    assert await verdict({"DATABASE_URL": "postgresql://db/x"}, "data-directory") == ("well", f"{tmp_path / 'data'}. ")


async def test_without_running_servers_it_reports_them_and_starts_nothing(tmp_path):
    code, found = await run_doctor({"GALLERY_DATA_DIR": str(tmp_path / "data")}, tmp_path / "logs")
    assert code == 1
    does = {finding["check"]: finding["do"] for finding in found if finding["state"] == "wrong"}
    assert set(does) == {"postgresql", "valkey"}
    assert all("Start gallery dev" in do and "GALLERY_DATA_DIR" in do for do in does.values())
    says = {finding["check"]: finding["says"] for finding in found}
    assert next(iter(says)) == "data-directory"
    assert all(str(tmp_path / "data") in says[check] for check in ("data-directory", "postgresql", "valkey"))
    assert not (tmp_path / "data" / "postgres").exists()


def test_an_api_that_is_not_ready():
    reasons = {"objects": "The object store is unavailable; try again later.", "valkey": "no answer within 2 s"}
    found = machine.not_ready_verdict(httpx.Response(503, json={"status": "unavailable", "away": reasons}))
    assert found.state == "wrong"
    assert found.says == f"The API is not ready. objects: {reasons['objects']} valkey: {reasons['valkey']}"
    assert "the check store and valkey below" in found.do
    assert machine.not_ready_verdict(httpx.Response(503, json={"status": "draining"})).state == "notice"
    assert "502" in machine.not_ready_verdict(httpx.Response(502, text="<html>")).says


async def test_an_invalid_setting_is_a_finding(tmp_path):
    code, found = await run_doctor({"PORT": "many"}, tmp_path / "logs")
    assert code == 1
    assert [(f["check"], f["state"], "PORT is 'many'" in f["says"]) for f in found] == [("settings", "wrong", True)]


@pytest.mark.parametrize(
    ("change", "state", "says"),
    [
        ({}, "well", "known and safe"),
        ({"GALLERY_ACESS__OPEN": "1"}, "wrong", "GALLERY_ACESS__OPEN (meant GALLERY_ACCESS__OPEN?)"),
        ({"GALLERY_FAULT": "upload-put:1"}, "wrong", "kill themselves"),
        ({"GALLERY_HOST": "0.0.0.0", "GALLERY_ACCESS__OPEN": "true"}, "wrong", "delete everything"),
        ({"GALLERY_HOST": "0.0.0.0", "GALLERY_ACCESS__OPEN": "false"}, "well", ""),
        ({"S3_BUCKET": "a", "S3_ENDPOINT": "http://minio.example.org:9000"}, "notice", "unencrypted"),
        ({"S3_BUCKET": "a", "S3_ENDPOINT": "http://127.0.0.1:9000"}, "well", ""),
    ],
)
async def test_unknown_and_unsafe_settings(change, state, says):
    found = await verdict(change, "settings")
    assert (found[0], says in found[1]) == (state, True), found


async def test_low_memory_disk_and_limits(monkeypatch, tmp_path):
    names, here = ("memory", "disk", "shared-memory", "limits"), {"GALLERY_DATA_DIR": str(tmp_path)}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    try:
        assert {f.state for f in (await run_named_checks(here, *names)).values()} == {"well"}
        monkeypatch.setattr(machine, "MIN_FREE_DISK_BYTES", 2**60)
        monkeypatch.setattr(machine, "MIN_SHARED_MEMORY_BYTES", 2**60)
        monkeypatch.setattr(machine, "MIN_FREE_MEMORY_RATIO", 1.0)
        monkeypatch.setattr(machine, "MIN_OPEN_FILES", 2**60)
        found = await run_named_checks(here, *names)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {f.state for f in found.values()} == {"wrong"}
    assert all(f.do for f in found.values())


async def test_the_confinement_of_a_renderer_is_tried(monkeypatch, tmp_path):
    here = {"GALLERY_DATA_DIR": str(tmp_path)}
    assert (await verdict(here, "renderers"))[0] == "well"  # the test machines support it
    monkeypatch.setattr(machine, "examine", unconfined_report)
    state, says = await verdict(here, "renderers")
    assert state == "notice"
    assert "run programs, open TCP connections" in says


async def test_a_check_that_raises_is_unknown_and_the_others_go_on(monkeypatch):
    async def broken(_) -> Verdict:
        raise KeyError("surprise")

    settings = next(check for check in CHECKS if check.name == "settings")
    monkeypatch.setattr("doctor.findings.CHECKS", (Check("machine", "broken", broken), settings))
    found = await run_named_checks({})
    assert (found["broken"].state, "surprise" in found["broken"].says) == ("unknown", True)
    assert found["settings"].state == "well"


@pytest.mark.parametrize(
    ("states", "code"),
    [(["well", "notice", "skipped"], 0), (["well", "unknown"], 2), (["unknown", "wrong", "well"], 1)],
)
def test_scripts_get_an_exit_code(states, code):
    found = [Finding("machine", "some", State(state), "", "", 0, {}) for state in states]
    assert exit_code(found) == code
