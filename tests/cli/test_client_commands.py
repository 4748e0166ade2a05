"""`gallery upload` and the other commands of the client, which the server's package brings along."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import photos
from credentials import GALLERY, run_command
from gallery.cli.client_commands import CLIENT_COMMANDS
from gallery_client import __version__
from gallery_client.cli.parser import command_parsers
from gallery_processes import base_environment

VECTOR = json.loads((Path(__file__).parents[2] / "docs" / "signing-vectors.json").read_text())["vectors"][0]
SIGN = ("sign", VECTOR["image"], VECTOR["query"], "--expires-at", str(VECTOR["exp"]))


def test_the_server_has_all_commands_of_the_client():
    parsers = command_parsers(argparse.ArgumentParser())
    assert {name: parser.description for name, parser in parsers.items()} == CLIENT_COMMANDS


def test_photos_are_sent_once_and_the_exit_codes_are_those_of_the_client(stack, tmp_path):
    environment = {**base_environment(), "XDG_CACHE_HOME": str(tmp_path / "cache"), "GALLERY_URL": stack.url}
    (tmp_path / "-lake.jpg").write_bytes(photos.a_jpeg(320, 240, comment=os.urandom(8)))

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [GALLERY, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, (done.stdout.splitlines() or [done.stderr])[-1]

    send = ("upload", "--json", "--wait", "--", "-lake.jpg")
    assert run(*send) == (0, '{"sent":1,"skipped":0,"refused":0}')
    assert run(*send) == (0, '{"sent":0,"skipped":1,"refused":0}')
    (tmp_path / "note.jpg").write_text("no picture")
    assert run("upload", ".", "--json") == (1, '{"sent":0,"skipped":1,"refused":1}')
    assert run("upload")[0] == run("list", "--limit", "0")[0] == 2
    assert run("list", "--json", "--url", "http://127.0.0.1:1") == (3, '{"images":0}')


async def test_a_link_is_signed_and_help_is_the_clients():
    environment = {**base_environment(), "GALLERY_LINK_KEY": VECTOR["key"], "GALLERY_URL": "https://img.example.org"}
    assert await run_command(environment, *SIGN) == (0, f"{VECTOR['url']}\n", "")
    code, output, _ = await run_command(environment, "upload", "--help")
    assert (code, output.startswith("usage: gallery upload")) == (0, True)
    assert VECTOR["key"] not in (await run_command(environment, "sign", "--help"))[1]


def test_other_commands_do_not_import_the_client():
    code = "import sys, gallery.cli.app; print([name for name in sys.modules if name in ('gallery_client', 'httpx')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_both_have_the_same_version():
    done = subprocess.run([GALLERY, "version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__
