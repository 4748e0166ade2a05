"""`python -m bench [GROUP...] [--baseline REF] [--against URL] [--rounds N] [--results FOLDER]`: see README.md."""

import argparse
import asyncio
import importlib
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from bench import results
from bench.servers import Servers, Version, checked_out

GROUPS = ("reads", "uploads", "worker", "pictures", "events", "scale")


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], metavar="GROUP", help="all, unless some are named")
    parser.add_argument("--baseline", metavar="REF", help="a git ref to measure too, in turns in the same run")
    parser.add_argument("--against", metavar="URL", help="another implementation of the seed's API, on this machine")
    parser.add_argument("--rounds", type=int, default=5, help="how often each operation has its turn")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="where the JSON files go")
    given = parser.parse_args()
    missed = 0
    for group in given.groups or GROUPS:
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gallery-bench-")))
            versions = [Version("gallery", {})]
            if given.baseline:
                versions.append(stack.enter_context(checked_out(given.baseline, folder)))
            servers = Servers(folder, stack, versions, given.against, given.rounds)
            await servers.start()
            result = await importlib.import_module(f"bench.{group}").measure(servers)
        results.finish(result, given.results, given.baseline)
        missed += sum(not goal.met for goal in result.goals)
        print(f"\n{group} took {time.monotonic() - began:.0f} s")
    print(f"\n{missed} goals are not met." if missed else "\nAll goals are met.")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
