"""A renderer that a malicious picture has taken over has no secrets, no privileges, no files and no network."""

import asyncio
import os
import socket
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

import photos
from child_functions import MEMORY_BYTES, try_connect, try_read, try_signal, try_write
from gallery.errors import RendererFailed
from gallery.renderers.confinement import examine, weakness
from gallery.renderers.interpreter import filtered_environment
from gallery.renderers.pool import open_renderers
from gallery.rendering.pipeline import render
from gallery.rendering.recipe import FORMATS, Recipe
from gallery_processes import GALLERY, RunningProcess

PICTURES = {
    "jpeg": photos.a_jpeg,
    "display-p3": photos.a_display_p3_jpeg,
    "cmyk": photos.a_cmyk_jpeg,
    "png": photos.a_png,
    "gif": photos.a_gif,
    "webp": photos.a_webp,
    "avif": photos.an_avif,
    "heic": photos.a_heic,
    "png that goes to disk": partial(photos.an_interlaced_png, 6_000, 6_000),  # libvips keeps 100 MB in memory
}
SECRET = "hunter2-of-the-database"
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A scratch directory and a data directory, with a picture in each."""
    scratch, data = tmp_path / "scratch", tmp_path / "data"
    for folder in (scratch, data):
        folder.mkdir()
        (folder / "original.jpg").write_bytes(photos.a_jpeg())
    return scratch, data


@pytest.fixture
def pool(folders, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"postgresql://gallery:{SECRET}@127.0.0.1/image_gallery")
    monkeypatch.setenv("GALLERY_ACCESS__JWT_SECRET", SECRET)
    scratch, data = folders
    with open_renderers(1, deadline=20, memory=MEMORY_BYTES, scratch=scratch, denied=data) as pool:
        yield pool


async def test_it_has_no_secret_in_its_environment(pool):
    child = psutil.Process(await pool.run(os.getpid))
    assert SECRET not in str(child.environ())
    assert await pool.run(os.getenv, "DATABASE_URL") is None
    assert child.environ()["PATH"] == os.environ["PATH"]


def test_variables_that_tune_libraries_are_kept():
    kept = {"PATH": "/bin", "LC_ALL": "C.UTF-8", "VIPS_CONCURRENCY": "1", "PYTHONPATH": "/x", "MALLOC_ARENA_MAX": "2"}
    assert (
        filtered_environment({**kept, "S3_SECRET_KEY": SECRET, "REDIS_URL": SECRET, "AWS_PROFILE": "x", "HOME": "/"})
        == kept
    )


@ON_LINUX
async def test_it_has_no_privileges_and_can_gain_none(pool):
    status = Path(f"/proc/{await pool.run(os.getpid)}/status").read_text().splitlines()
    values = dict(line.split(":\t") for line in status if line.startswith(("Cap", "NoNewPrivs")))
    assert values.pop("NoNewPrivs") == "1"
    assert {values[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0000000000000000"}


@ON_LINUX
async def test_it_reads_and_writes_in_its_scratch_directory_alone(pool, folders):
    scratch, data = folders
    assert await pool.run(try_read, str(scratch / "original.jpg")) == "read"
    assert await pool.run(try_write, str(scratch / "960.webp")) == "written"
    for path in (data / "original.jpg", "/etc/passwd", f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/mem"):
        assert await pool.run(try_read, str(path)) == "PermissionError", path
    assert await pool.run(try_write, str(data / "original.jpg")) == "PermissionError"
    assert (data / "original.jpg").read_bytes() == photos.a_jpeg()


@ON_LINUX
async def test_data_in_an_import_directory_cannot_be_read(folders, monkeypatch):
    """`python -m gallery` imports from its working directory, which may contain the data directory."""
    scratch, data = folders
    monkeypatch.syspath_prepend(str(data.parent))
    with open_renderers(1, deadline=20, memory=MEMORY_BYTES, scratch=scratch, denied=data) as pool:
        assert await pool.run(try_read, str(data / "original.jpg")) == "PermissionError"


@ON_LINUX
async def test_it_reaches_no_server_and_no_other_process(pool):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert await pool.run(try_connect, server.getsockname()[1]) == "PermissionError"
    assert await pool.run(try_signal, os.getpid()) == "PermissionError"


@ON_LINUX
async def test_it_runs_no_program(pool):
    for program in ("/bin/true", sys.executable):
        with pytest.raises(PermissionError):
            await pool.run(os.execv, program, [program])


@ON_LINUX
async def test_examine_reports_the_limits(pool):
    found = await pool.run(examine)
    assert found.missing == []
    assert "DATABASE_URL" not in found.environment
    assert examine().missing != []  # the tests themselves are not confined


@pytest.mark.parametrize("name", PICTURES)
async def test_it_renders_all_accepted_formats(pool, folders, name):
    scratch, _ = folders
    original, into = scratch / "original", scratch / "renditions"
    original.write_bytes(PICTURES[name]())
    into.mkdir()
    rendered = await pool.run(render, original, into, Recipe(formats=FORMATS))
    assert {f"{r.name}.{r.format}" for r in rendered.renditions} == {path.name for path in into.iterdir()}


FILTER = """
import ctypes, os, pathlib, platform, struct, sys

def refuse(*numbers):
    # By seccomp, as a service manager's filter does: these system calls fail with EPERM.
    load, allow, deny = (0x20, 0, 0, 0), (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)
    jumps = [(0x15, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    code = b"".join(struct.pack("HBBI", *line) for line in (load, *jumps, allow, deny))
    held = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.c_char_p(program)) == 0
"""
REFUSED = f"""{FILTER}
from gallery.renderers.confinement import confine, examine
capset = {{"x86_64": 126, "aarch64": 91}}[platform.machine()]
refuse(444, 445, 446, *([capset] if sys.argv[3] == "capset too" else []))
confine(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
print(examine().missing)
"""


@ON_LINUX
@pytest.mark.parametrize("refused", ["landlock", "capset too"])
async def test_renderers_work_on_a_system_that_refuses_landlock(folders, refused):
    """As an older kernel does, or systemd's filter of system calls; tested in a separate process."""
    command = [sys.executable, "-c", REFUSED, *folders, refused]
    if refused == "capset too":  # works only in a process without capabilities
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command] if os.geteuid() == 0 else command
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().strip() == "['files', 'programs', 'network']"


@ON_LINUX
async def test_a_worker_warns_once_about_unconfined_renderers(environment, tmp_path):
    wrapped = f"{FILTER}\nrefuse(444, 445, 446)\nos.execv(sys.argv[1], sys.argv[1:])"
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", wrapped, str(GALLERY), "worker"]
        process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=output)
    started = RunningProcess(process, log)
    try:
        await started.wait_for_event("worker.working")
    finally:
        await started.stop()
    (line,) = started.log_lines("renderers.not_confined")
    assert (line["level"], "Landlock cannot be used" in line["reason"]) == ("warning", True)


@ON_LINUX
def test_landlock_is_complete_on_this_machine():
    assert weakness() is None


COMMAND = "type('Taken', (), {{'__reduce__': lambda self: (__import__('os').mkdir, ({path!r},))}})()"


async def test_its_results_run_no_code_in_the_worker(pool, tmp_path):
    """A pickle may name any function; a renderer's pickle may name the types of results and errors only."""
    with pytest.raises(RendererFailed):
        await pool.run(eval, COMMAND.format(path=str(tmp_path / "made")))
    assert not (tmp_path / "made").exists()
