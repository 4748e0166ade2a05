"""Runs the checks: groups concurrently, the checks of a group one after the other, each with a time-out."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from time import perf_counter

from gallery.doctor.model import REPORT_BUG, Check, CheckContext, Finding, State, Verdict, skipped
from gallery.embedded import datadir
from gallery.masking import masked, masked_all
from gallery.settings import Settings


async def run_checks(
    settings: Settings, environment: Mapping[str, str], checks: Sequence[Check]
) -> AsyncIterator[list[Finding]]:
    """The findings of each group, in order. Starts nothing, and writes nothing but a probe in the object store."""
    async with AsyncExitStack() as stack:
        context = CheckContext(settings, dict(environment), datadir.find_running(settings.data_path), stack)
        groups = list(dict.fromkeys(check.group for check in checks))
        tasks = [asyncio.create_task(_run_group(context, [c for c in checks if c.group == group])) for group in groups]
        for task in tasks:
            yield await task


async def _run_group(context: CheckContext, checks: Sequence[Check]) -> list[Finding]:
    return [await _run_check(context, check) for check in checks]


async def _run_check(context: CheckContext, check: Check) -> Finding:
    for name in check.needs:
        await context.finished[name].wait()
    began = perf_counter()
    verdict = await _run_with_timeout(context, check)
    if verdict.state in {State.WRONG, State.UNKNOWN, State.SKIPPED}:
        context.unusable.add(check.name)
    context.finished[check.name].set()
    milliseconds = round((perf_counter() - began) * 1000)
    says, do, facts = masked(verdict.says), masked(verdict.do), masked_all(verdict.facts)
    return Finding(check.group, check.name, verdict.state, says, do, milliseconds, facts)


async def _run_with_timeout(context: CheckContext, check: Check) -> Verdict:
    if missing := [name for name in check.needs if name in context.unusable]:
        return skipped(f"the check {missing[0]} failed")
    try:
        async with asyncio.timeout(check.timeout_seconds):
            return await check.run(context)
    except TimeoutError:
        return Verdict(
            State.UNKNOWN,
            f"No answer within {check.timeout_seconds:.0f} s.",
            "Check whether the server hangs.",
        )
    except Exception as error:  # noqa: BLE001  is reported as a finding; the other checks go on
        return Verdict(State.UNKNOWN, f"The check itself failed: {error!r}.", REPORT_BUG)
