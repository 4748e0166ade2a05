"""Computes the number of workers needed: a pure function from the load to a number with its reason.

The rules: if too many images wait, or one has waited too long, add workers. If few wait, none for long, and the other
workers can take over the work of one, remove one. Otherwise nothing changes. Each change is followed by a cooldown. The
only state is the list of workers, so every API process gives the same answer.
"""

from enum import StrEnum
from math import ceil, inf
from typing import Self

from msgspec import Struct

from gallery.errors import Misconfigured
from gallery.settings import AutoscaleSettings

MAX_BUSY_RATIO = 0.8  # of the remaining workers: a worker is not removed if they would be busier


class Rule(StrEnum):
    """The rule behind a decision."""

    LENGTH = "length"  # many images wait: add
    LATENCY = "latency"  # one image has waited too long: add
    QUIET = "quiet"  # few images wait: remove one
    STEADY = "steady"  # no rule applies
    COOLDOWN = "cooldown"  # the last change is recent
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    PAUSED = "paused"  # more workers would not help


class Load(Struct, frozen=True):
    """The measured load. `workers` counts live and recently lost ones; `busy` is the part of their time spent on
    images lately (0 to 1).

    Times are in seconds; `since_joined` and `since_left` count back from now, `inf` means never.
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
        """Raises `Misconfigured` when the settings contradict each other."""
        if settings.min > settings.max:
            raise Misconfigured(f"GALLERY_AUTOSCALE__MIN ({settings.min}) is above MAX ({settings.max}).")
        if settings.remove_below > settings.add_above:
            raise Misconfigured(
                f"GALLERY_AUTOSCALE__REMOVE_BELOW ({settings.remove_below}) is above ADD_ABOVE ({settings.add_above})."
            )
        return cls(**{name: getattr(settings, name) for name in cls.__struct_fields__})


class Decision(Struct, frozen=True):
    """The number of workers needed, the rule, and a sentence for people."""

    wanted: int
    rule: Rule
    reason: str


def decide(load: Load, rules: Rules) -> Decision:
    """At most doubles the workers, removes at most one, and stays between `min` and `max`."""
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
    share = ceil(load.waiting / rules.add_above)  # at most `add_above` waiting images a worker
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
