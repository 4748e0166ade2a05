"""Looks at everything: the groups at the same time, the checks of a group one after the other, each with its end."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from time import perf_counter

from gallery.doctor.model import REPORT_BUG, Check, Finding, Patient, State, Verdict, skipped
from gallery.embedded import datadir
from gallery.masking import masked, masked_all
from gallery.settings import Settings


async def examine(
    settings: Settings, environment: Mapping[str, str], checks: Sequence[Check]
) -> AsyncIterator[list[Finding]]:
    """The findings of each group, in the groups' order. Starts and changes nothing but a probe in the object store."""
    async with AsyncExitStack() as stack:
        patient = Patient(settings, dict(environment), datadir.attach(settings.data), stack)
        groups = list(dict.fromkeys(check.group for check in checks))
        tasks = [asyncio.create_task(_group(patient, [c for c in checks if c.group == group])) for group in groups]
        for task in tasks:
            yield await task


async def _group(patient: Patient, checks: Sequence[Check]) -> list[Finding]:
    return [await _finding(patient, check) for check in checks]


async def _finding(patient: Patient, check: Check) -> Finding:
    for name in check.needs:
        await patient.done[name].wait()
    began = perf_counter()
    verdict = await _verdict(patient, check)
    if verdict.state in {State.WRONG, State.UNKNOWN, State.SKIPPED}:
        patient.unwell.add(check.name)
    patient.done[check.name].set()
    milliseconds = round((perf_counter() - began) * 1000)
    says, do, facts = masked(verdict.says), masked(verdict.do), masked_all(verdict.facts)
    return Finding(check.group, check.name, verdict.state, says, do, milliseconds, facts)


async def _verdict(patient: Patient, check: Check) -> Verdict:
    if missing := [name for name in check.needs if name in patient.unwell]:
        return skipped(f"{missing[0]} is not well")
    try:
        async with asyncio.timeout(check.patience):
            return await check.look(patient)
    except TimeoutError:
        return Verdict(
            State.UNKNOWN, f"No answer within {check.patience:.0f} s.", "Look whether the server that it asks hangs."
        )
    except Exception as error:  # noqa: BLE001  a check that fails says so; the others go on
        return Verdict(State.UNKNOWN, f"The check itself failed: {error!r}.", REPORT_BUG)
