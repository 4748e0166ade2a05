"""A small `gallery dev`: `python small_dev.py DATA_DIR` supervises the servers and two processes that only sleep."""

import asyncio
import sys
import time
from pathlib import Path

from gallery.embedded import datadir
from gallery.embedded.processes import exit_with_parent
from gallery.embedded.servers import prepare_servers, publish_servers
from gallery.embedded.supervisor import Command, Supervisor


async def main(data_dir: Path) -> int:
    async with datadir.lock(data_dir, "gallery dev") as lock:

        async def start_all(supervisor: Supervisor) -> None:
            servers = await prepare_servers(lock)
            await supervisor.start(*servers)
            publish_servers(lock, servers)
            await supervisor.start(sleeping_command("api", data_dir), sleeping_command("worker", data_dir))
            lock.publish(api_port=3000)

        return await Supervisor(lambda processes: lock.publish(processes=processes)).run(start_all)


def sleeping_command(name: str, data_dir: Path) -> Command:
    ready_file = data_dir / f"{name}.up"
    ready_file.unlink(missing_ok=True)

    async def is_ready() -> bool:
        return ready_file.exists()

    return Command(name, [sys.executable, __file__, str(data_dir), str(ready_file)], probe=is_ready)


def sleep(ready_file: Path) -> None:
    exit_with_parent()
    ready_file.touch()
    time.sleep(120)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sleep(Path(sys.argv[2]))
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
