"""What the commands print: a sentence a line, or with `--json` an object a line."""

import sys
from typing import Any

import msgspec


class Output:
    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._progress = not json and sys.stderr.isatty()

    def line(self, text: str, facts: Any) -> None:
        """One thing that happened."""
        if self._progress:
            sys.stderr.write("\r\x1b[K")
        line = msgspec.json.encode(facts).decode() if self._json else text
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def progress(self, text: str) -> None:
        """On a terminal, one line that is written anew."""
        if self._progress:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def error(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
