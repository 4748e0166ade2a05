"""The short form, for CI: the CPU of the main operations in bare answers of the same run, against `ratios.json`.

Only ratios of CPU count, never a time: of several rounds the lowest CPU of each operation and of the bare answer, so
that a busy machine does not fail it.
`python -m bench.ratios` prints them; with `--write` they become the committed ones.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx

import photos
from bench import library
from bench.load import Operation, Target, compiled, measure_in_turns
from bench.reads import BARE_BYTES
from bench.servers import Servers, Version
from bench.uploads import make_upload

FILE = Path(__file__).with_name("ratios.json")
BARE = "bare answer"
MAX_GROWTH = 1.5
ROUNDS, SECONDS = 8, 0.4
UPLOADS = 60  # in a round


def committed() -> dict[str, float]:
    return dict(json.loads(FILE.read_text()))


def grown(found: Mapping[str, float]) -> dict[str, str]:
    """The operations that cost more than `MAX_GROWTH` times as many bare answers as the committed ones."""
    limits = {name: ratio * MAX_GROWTH for name, ratio in committed().items()}
    return {name: f"{found[name]:.1f} > {limit:.1f}" for name, limit in limits.items() if found[name] > limit}


async def measure(folder: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """The lowest CPU of each operation, in the lowest of the bare answer; ends early when none has grown."""
    async with AsyncExitStack() as stack:
        version = Version("gallery", {})
        servers = Servers(folder, stack, [version], None, rounds)
        await servers.start()
        images = await library.fill(servers, version, [photos.a_jpeg(120, 90, seed) for seed in range(50)])
        bare = await stack.enter_async_context(servers.bare(BARE_BYTES))
        api = await stack.enter_async_context(servers.api(version))
        cold = await stack.enter_async_context(servers.api(version, GALLERY_CACHE__ENABLED="false"))
        pairs = [(bare, Operation(BARE, ["/"])), *await _operations(api, cold, images)]
        lowest: dict[str, float] = {}
        for _ in range(rounds):
            await _measure_round(pairs, lowest)
            found = {name: cpu / lowest[BARE] for name, cpu in lowest.items() if name != BARE}
            if FILE.exists() and not grown(found):
                break
    return found


async def _operations(api: Target, cold: Target, images: list[library.Image]) -> list[tuple[Target, Operation]]:
    one, page = f"/api/v1/images/{images[0]['id']}", "/api/v1/images"
    rendition = urlsplit(images[0]["renditions"][0]["url"]).path
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}") as client:
        etag = (await client.get(one)).raise_for_status().headers["etag"]
    return [
        (api, Operation("cached get", [one])),
        (api, Operation("304", [one], {"If-None-Match": etag}, status=304)),
        (api, Operation("list of 50", [page])),
        (api, Operation("rendition", [rendition])),
        (cold, Operation("cold get", [one])),
        (api, make_upload("upload", photos.a_jpeg(120, 90) + bytes(16), connections=8)),
    ]


async def _measure_round(pairs: list[tuple[Target, Operation]], lowest: dict[str, float]) -> None:
    reads = [pair for pair in pairs if pair[1].body is None]
    samples = await measure_in_turns(reads, 1, SECONDS)
    samples |= await measure_in_turns(pairs[len(reads) :], 1, count=UPLOADS)
    for (_, operation), (sample,) in samples.items():
        lowest[operation] = min(lowest.get(operation, float("inf")), sample.own_cpu)


async def main() -> None:
    compiled("http_load")
    with tempfile.TemporaryDirectory(prefix="gallery-ratios-") as folder:
        if "--write" in sys.argv:
            FILE.unlink(missing_ok=True)
        found = {name: round(ratio, 2) for name, ratio in (await measure(Path(folder))).items()}
    print(json.dumps(found, indent=2))
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(found, indent=2) + "\n")
    else:
        sys.exit("\n".join(f"{name}: {why}" for name, why in grown(found).items()) or 0)


if __name__ == "__main__":
    asyncio.run(main())
