"""Portions of limits: processes together never allow more than one counter would, and lose nothing for long.

The clock is simulated, and the script, with this clock for its own, runs in the real Valkey.
"""

import asyncio
import re
from itertools import count

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from gallery.adapters.valkey.client import open_valkey
from gallery.adapters.valkey.portions import MAX_PORTION, RatePortions
from gallery.adapters.valkey.rates import (
    NOTHING_RETURNED,
    PORTION_SECONDS,
    RETURN_SECONDS,
    RateClass,
    RateCounters,
    RateLimit,
    Returned,
)
from gallery.errors import ValkeyUnavailable
from gallery.settings import Settings

START = 1_800_000_000_000_000  # µs since 1970
HOURLY = RateLimit(100, 3600)
LIMITS = [
    HOURLY,
    RateLimit(1, 1),
    RateLimit(7, 2),
    RateLimit(10, 60),
    RateLimit(100, 1),
    RateLimit(300, 60),
    RateLimit(3000, 60),
]
clients = (f"client {number}" for number in count())


@pytest.fixture
async def valkey(environment):
    async with open_valkey(Settings.read({**environment, "GALLERY_REDIS__TIMEOUT": "30"}).redis) as valkey:
        yield valkey


class Time:
    """Microseconds since 1970."""

    def __init__(self) -> None:
        self.now = START

    def seconds(self) -> float:
        return self.now / 1_000_000

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1_000_000)


class Reference:
    """One GCRA counter that sees each allowed request when it is allowed.

    Valkey has counted it at most `late` µs before, the time of its answer; so this counter lags by at most as much.
    """

    def __init__(self, limit: RateLimit, time: Time) -> None:
        self._limit, self._time, self._clear = limit, time, 0
        self.late = 0

    def allow(self) -> None:
        self._clear = max(self._clear, self._time.now) + self._limit.step
        excess = (self._clear - self._time.now) / self._limit.step - self._limit.requests
        assert excess <= self.late / self._limit.step, f"{excess} requests too many"


class SimulatedCounters(RateCounters):
    """Counters in Valkey with a simulated clock and, if told so, calls whose reply is lost or that arrive late."""

    def __init__(self, valkey, time):
        super().__init__(valkey)
        self._time = time
        self.calls = 0
        self.latency = 0.0  # seconds, half of it on the way there
        self.fault = None
        self.late = []

    async def _run(self, script, *given):
        self.calls += 1
        if self.fault == "late":
            self.fault = None
            self.late.append((script, given))
            raise ValkeyUnavailable(cause="it does not answer")
        self._time.wait(self.latency / 2)
        answer = await self.execute(script, *given)
        self._time.wait(self.latency / 2)
        if self.fault == "lost":
            self.fault = None
            raise ValkeyUnavailable(cause="the connection has broken")
        return answer

    async def execute(self, script, rate_class, client, *given):
        """The script with the simulated time, in which also the key expires."""
        key = f"{self._valkey.prefix}:limit:{rate_class}:{{{client}}}"
        ends = await self._valkey.call(lambda server: server.get(f"{key}.end"))
        if ends is not None and float(ends) * 1000 <= self._time.now:
            await self._valkey.call(lambda server: server.delete(key))
        seconds, microseconds = divmod(self._time.now, 1_000_000)
        text = script.replace("redis.call('TIME')", f"{{{seconds}, {microseconds}}}")
        text = re.sub(
            r"redis.call\('PEXPIRE', KEYS\[1\], (.*)\)\n",
            rf"redis.call('SET', KEYS[1] .. '.end', string.format('%.3f', {self._time.now / 1000} + \1))\n",
            text,
        )
        assert "PEXPIRE" not in text
        assert "TIME" not in text
        return await super()._run(text, rate_class, client, *given)


class Processes:
    """Some processes, which count requests of one client."""

    def __init__(self, valkey, limit, number=3):
        self.time = Time()
        self.limit, self.client = limit, next(clients)
        self.reference = Reference(limit, self.time)
        self.counters = [SimulatedCounters(valkey, self.time) for _ in range(number)]
        self.portions = [self._start(number) for number in range(number)]

    def _start(self, process):
        return RatePortions(self.counters[process], self.time.seconds)

    def crash(self, process):
        self.portions[process] = self._start(process)

    async def request(self, process):
        """Whether a request is allowed; `None` without Valkey."""
        portions = self.portions[process]
        decision = portions.try_spend(RateClass.REQUESTS, self.client)
        if decision is None:
            try:
                decision = await portions.spend(RateClass.REQUESTS, self.client, self.limit)
            except ValkeyUnavailable:
                return None
            finally:
                self._stop_timers()
        if decision.allowed:
            self.reference.allow()
            assert 0 <= decision.remaining < self.limit.requests
            assert 0 < decision.reset_after <= self.limit.seconds + 1
            assert not decision.retry_after
        else:
            assert decision.retry_after > 0
        return decision.allowed

    def _stop_timers(self):
        for portions in self.portions:
            for portion in portions._portions.values():
                portion.timer.cancel()

    async def give_back(self, process):
        await self.portions[process].close()

    async def deliver(self, process):
        """Let Valkey execute the calls that it did not answer."""
        counters = self.counters[process]
        late, counters.late = counters.late, []
        for script, arguments in late:
            await counters.execute(script, *arguments)

    async def burst(self, process, number):
        """The number of allowed requests."""
        return sum([bool(await self.request(process)) for _ in range(number)])


process = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("burst"), process, st.integers(1, 120)),
    st.tuples(st.just("together"), process, st.integers(2, 20)),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.01, 0.1, 0.5, 0.99, 1.0, 1.01, 1.9, 2.1, 5.0, 61.0])),
    st.tuples(st.just("give back"), process),
    st.tuples(st.just("crash"), process),
    st.tuples(st.just("fault"), process, st.sampled_from(["lost", "late"])),
    st.tuples(st.just("latency"), process, st.sampled_from([0.0, 0.002, 0.7, 1.5])),
    st.tuples(st.just("deliver"), process),
)


@given(st.sampled_from(LIMITS), st.lists(steps, min_size=3, max_size=25))
@with_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_processes_never_allow_more_than_one_counter(valkey, limit, story):
    processes = Processes(valkey, limit)
    for step in story:
        match step:
            case "burst", process, number:
                await processes.burst(process, number)
            case "together", process, number:
                await asyncio.gather(*(processes.request(process) for _ in range(number)))
            case "wait", seconds:
                processes.time.wait(seconds)
            case "give back", process:
                await processes.give_back(process)
            case "crash", process:
                processes.crash(process)
            case "fault", process, fault:
                processes.counters[process].fault = fault
            case "latency", process, seconds:
                processes.counters[process].latency = seconds
                processes.reference.late = max(processes.reference.late, round(seconds * 1_000_000))
            case "deliver", process:
                await processes.deliver(process)


bursts_and_returns = st.one_of(
    st.tuples(st.just("burst"), process, st.integers(1, 12)), st.tuples(st.just("give back"), process)
)


@given(st.lists(bursts_and_returns, max_size=20))
@with_settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_what_is_given_back_is_allowed_again(valkey, story):
    processes = Processes(valkey, RateLimit(60, 3600))
    allowed = 0
    for step in story:
        if step[0] == "burst":
            allowed += await processes.burst(*step[1:])
        else:
            await processes.give_back(step[1])
    for process in range(3):
        await processes.give_back(process)
    while await processes.request(1):
        allowed += 1
    assert allowed == 60


async def test_a_burst_costs_few_calls_and_is_the_limit_exactly(valkey):
    processes = Processes(valkey, RateLimit(3000, 3600))
    assert await processes.burst(0, 2900) == 2900
    assert processes.counters[0].calls < 50
    assert await processes.burst(0, 200) == 100


async def test_a_busy_client_of_a_large_limit_costs_a_call_for_each_full_portion(valkey):
    processes = Processes(valkey, RateLimit(10_000_000, 60))
    await processes.burst(0, 2 * MAX_PORTION)
    before = processes.counters[0].calls
    assert await processes.burst(0, 20 * (MAX_PORTION + 1)) == 20 * (MAX_PORTION + 1)
    assert processes.counters[0].calls - before <= 21


async def test_the_first_requests_lease_one_each(valkey):
    processes = Processes(valkey, HOURLY)
    for calls in (1, 2, 2, 3, 3, 3, 4):
        await processes.request(0)
        assert processes.counters[0].calls == calls
    assert await processes.burst(1, 100) >= 100 - 7 - 4


async def test_a_slow_client_leases_nothing(valkey):
    processes = Processes(valkey, HOURLY)
    for _ in range(10):
        assert await processes.request(0)
        await processes.give_back(0)
        processes.time.wait(PORTION_SECONDS + 0.01)
    assert processes.counters[0].calls == 10


async def test_a_portion_that_is_not_returned_counts_from_its_end(valkey):
    processes = Processes(valkey, RateLimit(100, 100))
    await processes.burst(0, 4)
    left = processes.portions[0]._portions[RateClass.REQUESTS, processes.client].left
    assert left
    processes.crash(0)
    assert await processes.burst(1, 150) == 100 - 4 - left
    processes.time.wait(PORTION_SECONDS + RETURN_SECONDS + 0.001)
    assert await processes.burst(1, 10) == 2, "one for each second"
    processes.time.wait(200)
    assert await processes.burst(1, 150) == 100


async def test_requests_that_are_spent_late_count_from_then(valkey):
    processes = Processes(valkey, RateLimit(100, 1))
    assert await processes.burst(0, 12) == 12
    left = processes.portions[0]._portions[RateClass.REQUESTS, processes.client].left
    assert left == 8
    processes.time.wait(PORTION_SECONDS - 0.01)
    assert await processes.burst(0, left) == left
    assert await processes.burst(0, 150) == 100 - left


async def test_the_headers_of_leased_requests_go_on_from_those_of_the_lease(valkey):
    processes = Processes(valkey, HOURLY)
    portions = processes.portions[0]
    found = []
    for _ in range(15):
        decision = await portions.spend(RateClass.REQUESTS, processes.client, HOURLY)
        processes._stop_timers()
        found.append((decision.remaining, decision.reset_after))
    assert found == [(100 - number, number * 36) for number in range(1, 16)]
    assert portions._portions[RateClass.REQUESTS, processes.client].left, "of the last portion"


async def test_a_repeated_call_leases_nothing_twice(valkey):
    """As when a connection breaks after Valkey has executed the call, and the client sends it again."""
    counters, client = RateCounters(valkey), next(clients)
    for expected in (10, 0):
        lease = await counters.lease(RateClass.REQUESTS, client, HOURLY, "one", 10, NOTHING_RETURNED)
        assert (lease.decision.allowed, lease.size) == (True, expected)
    assert lease.decision.remaining == 100 - 2 - 10
    for _ in range(2):
        await counters.give_back(RateClass.REQUESTS, client, HOURLY, Returned("one", 3))
    assert (await counters.take(RateClass.REQUESTS, client, HOURLY)).remaining == 100 - 2 - 3 - 1


async def test_a_portion_is_given_back_by_itself(valkey):
    first, second = RatePortions(RateCounters(valkey)), RatePortions(RateCounters(valkey))
    client = next(clients)
    for _ in range(5):
        await first.spend(RateClass.REQUESTS, client, HOURLY)
    assert first.try_spend(RateClass.REQUESTS, client)
    async with asyncio.timeout(10):
        while (await second.counters.take(RateClass.REQUESTS, client, HOURLY)).remaining < 100 - 30:
            await asyncio.sleep(0.1)
    assert first.try_spend(RateClass.REQUESTS, client) is None
