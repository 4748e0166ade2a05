"""The pace at which a client's refusals are answered."""

import pytest

from gallery.delivery import refusal_pacing
from gallery.delivery.refusal_pacing import AT_ONCE, MAX_DELAY_SECONDS, PER_SECOND, RefusalPacing

NOW = 1_000.0


def test_the_first_refusals_are_not_delayed():
    pacing = RefusalPacing()
    assert [pacing.take("maya", NOW) for _ in range(AT_ONCE)] == [0.0] * AT_ONCE


def test_those_after_them_come_at_a_fixed_rate():
    pacing = RefusalPacing()
    delays = [pacing.take("maya", NOW) for _ in range(AT_ONCE + 4)][AT_ONCE:]
    assert delays == pytest.approx([0, 1 / PER_SECOND, 2 / PER_SECOND, 3 / PER_SECOND])


def test_no_refusal_waits_longer_than_the_longest_delay_and_a_flood_has_no_lasting_debt():
    pacing = RefusalPacing()
    delays = [pacing.take("maya", NOW) for _ in range(1_000)]
    assert max(delays) == delays[-1] == MAX_DELAY_SECONDS
    later = NOW + MAX_DELAY_SECONDS + (AT_ONCE + 1) / PER_SECOND
    assert pacing.take("maya", later) == 0


def test_a_client_does_not_delay_another():
    pacing = RefusalPacing()
    for _ in range(100):
        pacing.take("maya", NOW)
    assert pacing.take("tom", NOW) == 0


def test_a_client_that_keeps_to_the_rate_is_never_delayed():
    pacing = RefusalPacing()
    assert not any(pacing.take("maya", NOW + number / PER_SECOND) for number in range(1_000))


def test_the_number_of_remembered_clients_is_bounded(monkeypatch):
    monkeypatch.setattr(refusal_pacing, "MAX_CLIENTS", 10)
    pacing = RefusalPacing()
    for number in range(1_000):
        pacing.take(f"client {number}", NOW)
    assert len(pacing._next) <= 10
