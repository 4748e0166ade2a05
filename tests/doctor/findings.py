"""Runs some of the doctor's checks."""

from collections.abc import Mapping

from gallery.doctor.checks import CHECKS
from gallery.doctor.model import Finding
from gallery.doctor.runner import run_checks
from gallery.settings import Settings


async def run_named_checks(environment: Mapping[str, str], *names: str) -> dict[str, Finding]:
    """The findings of these checks and of those that they need (or of all checks), by name."""
    wanted = set(names) or {check.name for check in CHECKS}
    for check in reversed(CHECKS):
        wanted |= set(check.needs) if check.name in wanted else set()
    groups = run_checks(Settings.read(environment), environment, [c for c in CHECKS if c.name in wanted])
    return {finding.check: finding async for group in groups for finding in group}


async def verdict(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """The state of one check, and its sentence with its advice."""
    found = (await run_named_checks(environment, name))[name]
    return found.state, f"{found.says} {found.do}"
