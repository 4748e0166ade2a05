"""Options of several commands."""

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines; the last one is a summary")]
