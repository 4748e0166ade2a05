"""A little `gallery dev`: `python house.py DATA_DIR` supervises the servers and two parts that only sleep."""

import asyncio
import sys
import time
from pathlib import Path

from gallery.embedded import datadir
from gallery.embedded.processes import exit_with_parent
from gallery.embedded.servers import prepare_servers, publish_servers
from gallery.embedded.supervisor import Command, Supervisor


async def main(data_dir: Path) -> int:
    async with datadir.lock(data_dir, "gallery dev") as hold:

        async def begin(supervisor: Supervisor) -> None:
            servers = await prepare_servers(hold)
            await supervisor.start(*servers)
            publish_servers(hold, servers)
            await supervisor.start(sleeping_command("api", data_dir), sleeping_command("worker", data_dir))
            hold.publish(api_port=3000)

        return await Supervisor(lambda processes: hold.publish(processes=processes)).run(begin)


def sleeping_command(name: str, data_dir: Path) -> Command:
    sign = data_dir / f"{name}.up"
    sign.unlink(missing_ok=True)

    async def answers() -> bool:
        return sign.exists()

    return Command(name, [sys.executable, __file__, str(data_dir), str(sign)], probe=answers)


def sleep(ready_file: Path) -> None:
    exit_with_parent()
    ready_file.touch()
    time.sleep(120)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sleep(Path(sys.argv[2]))
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
