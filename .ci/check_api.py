"""Checks that the API breaks no client of the last release: `python .ci/check_api.py` compares the OpenAPI document
with docs/openapi.json, and prints each break. `--renew` writes that file anew, at a release.
"""

import argparse
import json
import sys
from pathlib import Path

from api_changes import Json, breaks

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ROOT / "docs" / "openapi.json"
ADVICE = "If a break is intended, name it in CHANGELOG.md, and run: .venv/bin/python .ci/check_api.py --renew"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--renew", action="store_true", help="make the present document the one to compare with")
    parser.add_argument("--against", type=Path, default=BASELINE, help="another document than docs/openapi.json")
    options = parser.parse_args()
    document = present_document()
    if options.renew:
        BASELINE.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        return 0
    found = list(breaks(json.loads(options.against.read_text()), document))
    for line in [*found, *([ADVICE] if found else [])]:
        print(line)  # noqa: T201
    return 1 if found else 0


def present_document() -> Json:
    sys.path.insert(0, str(ROOT / "docs"))
    import make_api  # noqa: PLC0415  a script beside the pages that it writes

    document: Json = make_api.document()
    return document


if __name__ == "__main__":
    sys.exit(main())
