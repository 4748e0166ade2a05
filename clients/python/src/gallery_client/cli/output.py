"""What the commands print: a sentence a line, or with `--json` an object a line."""

import io
import re
import shutil
import sys
from typing import Any

import msgspec

# Of titles and names of files: they could move the cursor, forge lines, and turn the direction of the text.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
ERASE_LINE = "\r\x1b[K"


class Output:
    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._progress = not json and sys.stderr.isatty()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8" if json else None, errors="backslashreplace")

    def line(self, text: str, facts: Any) -> None:
        """One thing that happened. Raises `BrokenPipeError` if nothing reads any more."""
        self._print(printable(text), facts)

    def lines(self, text: str, facts: Any) -> None:
        """The same, with a text of several lines."""
        self._print("\n".join(map(printable, text.split("\n"))), facts)

    def progress(self, text: str) -> None:
        """On a terminal, one line that is written anew."""
        if self._progress:
            sys.stderr.write(ERASE_LINE + printable(text)[: shutil.get_terminal_size().columns - 1])
            sys.stderr.flush()

    def error(self, text: str) -> None:
        self._end_progress()
        sys.stderr.write(f"{printable(text)}\n")

    def _print(self, text: str, facts: Any) -> None:
        self._end_progress()
        line = msgspec.json.encode(facts).decode() if self._json else text
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def _end_progress(self) -> None:
        if self._progress:
            sys.stderr.write(ERASE_LINE)


def printable(text: str) -> str:
    """The text on one line, with an escape for each character that a terminal would obey."""
    return UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)
