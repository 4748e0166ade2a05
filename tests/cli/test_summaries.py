"""With --json the last line of a command is its summary, also without other lines."""

import json

from credentials import run_command

SUMMARIES = {
    ("migrate",): {"schema", "before"},
    ("sweep",): {"rung", "removed"},
    ("verify",): {"findings", "mended", "originals"},
    ("reprocess", "--stale"): {"recipe", "recipes", "stale", "rendered", "failed", "left"},
    ("doctor",): {"well", "notice", "wrong", "skipped", "unknown"},
    ("keys", "list"): {"keys"},
    ("config", "--changed"): {"settings"},
    ("backup", "create", "{place}"): {"backup", "takenAt", "objects", "bytes", "missing"},
    ("backup", "verify", "{place}"): {"backup", "takenAt", "objects", "bytes", "missing"},
    ("migrate-objects", "--to", "file://{place}/objects"): {"copied", "already", "bytes", "failed"},
}


async def test_the_last_line_is_a_summary(environment, tmp_path):
    for args, names in SUMMARIES.items():
        given = [arg.format(place=tmp_path / "elsewhere") for arg in args]
        _, output, errors = await run_command(environment, *given, "--json")
        assert set(json.loads(output.splitlines()[-1])) == names, (args, errors)
