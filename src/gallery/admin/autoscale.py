"""How many workers there should be. A pure decision: what is seen goes in, a number with its reason comes out.

The rules are: too many images wait, or one has waited too long: add. Few wait, none for long, and the others have room
for the work of one: remove one. Between the two nothing changes, and after every change there is a pause in which it
can show what it does. The state is the workers themselves, so who asks twice gets the same answer, and any API process
may be asked.
"""

from enum import StrEnum
from math import ceil, inf
from typing import Self

from msgspec import Struct

from gallery.errors import Misconfigured
from gallery.settings import AutoscaleSettings

MAX_BUSY_RATIO = 0.8  # the most of those who remain that may be busy, when one goes: else it is missed at once


class Rule(StrEnum):
    """Which rule has decided."""

    LENGTH = "length"  # many wait: more
    LATENCY = "latency"  # one has waited for long: more
    QUIET = "quiet"  # few wait: one less
    STEADY = "steady"  # neither nor
    COOLDOWN = "cooldown"  # a change is fresh
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    PAUSED = "paused"  # more workers would not help


class Load(Struct, frozen=True):
    """What is seen. `workers` are those that are there or just lost, `busy` is the part of their time that went
    into work lately (0 to 1).

    Times are in seconds, `since_joined` and `since_left` so long ago, `inf` for never.
    """

    workers: int
    waiting: int
    oldest_seconds: float = 0.0
    busy: float = 0.0
    since_joined: float = inf
    since_left: float = inf
    paused: bool = False


class Rules(Struct, frozen=True):
    """Numbers of workers, lengths in images, times in seconds."""

    min: int = 1
    max: int = 10
    add_above: int = 100
    remove_below: int = 20
    latency: float = 30
    add_cooldown: float = 30
    remove_cooldown: float = 300

    @classmethod
    def from_settings(cls, settings: AutoscaleSettings) -> Self:
        """Raises `Misconfigured` where they do not fit together."""
        if settings.min > settings.max:
            raise Misconfigured(f"GALLERY_AUTOSCALE__MIN ({settings.min}) is above MAX ({settings.max}).")
        if settings.remove_below > settings.add_above:
            raise Misconfigured("GALLERY_AUTOSCALE__REMOVE_BELOW is above ADD_ABOVE: workers would come and go.")
        return cls(**{name: getattr(settings, name) for name in cls.__struct_fields__})


class Decision(Struct, frozen=True):
    """How many workers there should be, by which rule, and the same in words."""

    wanted: int
    rule: Rule
    reason: str


def decide(load: Load, rules: Rules) -> Decision:
    """At most twice as many workers as there are, at most one less, and always between `min` and `max`."""
    if load.workers < rules.min:
        return Decision(rules.min, Rule.MINIMUM, f"There are {load.workers} workers; {rules.min} is the minimum.")
    if load.workers > rules.max:
        return Decision(rules.max, Rule.MAXIMUM, f"There are {load.workers} workers; {rules.max} is the maximum.")
    if load.paused:
        return Decision(load.workers, Rule.PAUSED, "The queue is paused; more workers would not help.")
    if load.waiting > rules.add_above or load.oldest_seconds > rules.latency:
        return _scale_up(load, rules)
    if load.waiting < rules.remove_below:
        return _scale_down(load, rules)
    return Decision(load.workers, Rule.STEADY, f"{load.waiting} images wait, neither many nor few.")


def _scale_up(load: Load, rules: Rules) -> Decision:
    rule, why = _scale_up_rule(load, rules)
    if load.workers == rules.max:
        return Decision(rules.max, Rule.MAXIMUM, f"{why}, but {rules.max} workers are the maximum.")
    if load.since_joined < rules.add_cooldown:
        return Decision(load.workers, Rule.COOLDOWN, f"{why}, but a worker came {load.since_joined:.0f} s ago.")
    share = ceil(load.waiting / rules.add_above)  # so that none has more than that before it
    wanted = max(load.workers + 1, min(share, 2 * load.workers))
    return Decision(min(wanted, rules.max), rule, f"{why}.")


def _scale_up_rule(load: Load, rules: Rules) -> tuple[Rule, str]:
    if load.waiting > rules.add_above:
        return Rule.LENGTH, f"{load.waiting} images wait, more than {rules.add_above}"
    return Rule.LATENCY, f"An image has waited for {load.oldest_seconds:.0f} s, longer than {rules.latency:g} s"


def _scale_down(load: Load, rules: Rules) -> Decision:
    why = f"{load.waiting} images wait, fewer than {rules.remove_below}"
    if load.busy * load.workers > MAX_BUSY_RATIO * (load.workers - 1) and load.workers > rules.min:
        return Decision(load.workers, Rule.STEADY, f"{why}, but workers are busy for {load.busy:.0%} of their time.")
    if load.workers == rules.min:
        return Decision(rules.min, Rule.MINIMUM, f"{why}, but {rules.min} is the minimum.")
    fresh = min(load.since_joined, load.since_left)
    if fresh < rules.remove_cooldown:
        return Decision(load.workers, Rule.COOLDOWN, f"{why}, but a worker came or went {fresh:.0f} s ago.")
    return Decision(load.workers - 1, Rule.QUIET, f"{why}.")
