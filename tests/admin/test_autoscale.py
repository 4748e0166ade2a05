"""The number of workers needed."""

import runpy
from math import inf
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import upload_image
from gallery.admin.autoscale import Load, Rule, Rules, decide
from gallery.errors import Misconfigured
from gallery.settings import AutoscaleSettings, Settings

ROOT = Path(__file__).parents[2]
RULES = Rules()
LONG_AGO = {"since_joined": inf, "since_left": inf}

ages = st.one_of(st.floats(0, 10_000), st.just(inf))
rules = st.builds(
    lambda least, more, below, above, latency, add, remove: Rules(
        least, least + more, below + above, below, latency, add, remove
    ),
    st.integers(1, 20), st.integers(0, 50), st.integers(0, 200), st.integers(1, 500),
    st.floats(0.1, 600), st.floats(0.1, 600), st.floats(0.1, 3600),
)  # fmt: skip
loads = st.builds(
    Load,
    st.integers(0, 100),
    st.integers(0, 100_000),
    st.floats(0, 10_000),
    st.floats(0, 1),
    ages,
    ages,
    st.booleans(),
)
PROPERTY_SETTINGS = settings(max_examples=300, deadline=None, database=None)


def wanted(workers, waiting, oldest=0.0, **more):
    decision = decide(Load(workers, waiting, oldest, **(LONG_AGO | more)), RULES)
    return decision.wanted, decision.rule


@pytest.mark.parametrize(
    ("waiting", "oldest", "expected"),
    [
        (101, 0, (3, Rule.LENGTH)),
        (100, 0, (2, Rule.STEADY)),
        (20, 30, (2, Rule.STEADY)),
        (19, 30, (1, Rule.QUIET)),
        (19, 30.1, (3, Rule.LATENCY)),
        (0, 31, (3, Rule.LATENCY)),
        (399, 0, (4, Rule.LENGTH)),
        (9_000, 600, (4, Rule.LENGTH)),
    ],
)
def test_the_three_rules(waiting, oldest, expected):
    """More than 100 waiting: add. Fewer than 20: remove. One waits for more than 30 seconds: add."""
    assert wanted(2, waiting, oldest) == expected


def test_each_change_is_followed_by_a_cooldown():
    assert wanted(2, 500, since_joined=29) == (2, Rule.COOLDOWN)
    assert wanted(2, 500, since_joined=31, since_left=1) == (4, Rule.LENGTH), "a removal does not delay an addition"
    assert wanted(2, 0, since_joined=299) == (2, Rule.COOLDOWN), "a new worker is not removed"
    assert wanted(2, 0, since_left=299) == (2, Rule.COOLDOWN), "one removal at a time"


def test_no_worker_is_removed_while_the_others_are_too_busy():
    assert wanted(5, 0, busy=0.7) == (5, Rule.STEADY)
    assert wanted(5, 0, busy=0.6) == (4, Rule.QUIET)
    assert wanted(2, 0, busy=0.5) == (2, Rule.STEADY)
    assert wanted(2, 0, busy=0.25) == (1, Rule.QUIET)


def test_minimum_maximum_and_pause():
    assert wanted(0, 0) == (1, Rule.MINIMUM)
    assert wanted(1, 0) == (1, Rule.MINIMUM)
    assert wanted(10, 5_000, 300) == (10, Rule.MAXIMUM)
    assert wanted(12, 50) == (10, Rule.MAXIMUM)
    assert wanted(3, 5_000, 300, paused=True) == (3, Rule.PAUSED)


@PROPERTY_SETTINGS
@given(loads, rules)
def test_the_decision_stays_within_bounds_and_steps(load, rules):
    decision = decide(load, rules)
    assert rules.min <= decision.wanted <= rules.max
    if rules.min <= load.workers <= rules.max:
        assert load.workers - 1 <= decision.wanted <= 2 * load.workers
    assert decision.reason.endswith(".")


@PROPERTY_SETTINGS
@given(loads, rules, st.integers(0, 10_000), st.floats(0, 1_000))
def test_a_heavier_load_never_asks_for_fewer(load, rules, more, older):
    heavier = msgspec.structs.replace(load, waiting=load.waiting + more, oldest_seconds=load.oldest_seconds + older)
    assert decide(heavier, rules).wanted >= decide(load, rules).wanted


@PROPERTY_SETTINGS
@given(loads, rules)
def test_a_change_is_not_followed_by_another_at_once(load, rules):
    """With the wanted number of workers, the same load wants no other number."""
    first = decide(load, rules)
    joined = 0.0 if first.wanted > load.workers else load.since_joined
    left = 0.0 if first.wanted < load.workers else load.since_left
    then = msgspec.structs.replace(load, workers=first.wanted, since_joined=joined, since_left=left)
    if first.wanted != load.workers:
        again = decide(then, rules)
        assert again.wanted == first.wanted or (first.wanted < load.workers and again.wanted > first.wanted)


@PROPERTY_SETTINGS
@given(st.integers(1, 10), st.integers(20, 100), st.floats(0, 30))
def test_between_the_thresholds_nothing_changes(workers, waiting, oldest):
    assert decide(Load(workers, waiting, oldest), RULES).wanted == workers


@PROPERTY_SETTINGS
@given(st.integers(1, 10), st.integers(0, 10_000))
def test_a_steady_load_finds_its_number_and_stays_there(workers, waiting):
    counts = []
    for _ in range(20):
        workers = decide(Load(workers, waiting), RULES).wanted
        counts.append(workers)
    assert counts[-1] == counts[-2], "no number of workers comes back later"
    assert counts == sorted(counts) or counts == sorted(counts, reverse=True)


def test_contradicting_rules_are_refused():
    with pytest.raises(Misconfigured, match="MIN"):
        Rules.from_settings(AutoscaleSettings(min=5, max=4))
    with pytest.raises(Misconfigured, match="REMOVE_BELOW"):
        Rules.from_settings(AutoscaleSettings(add_above=10, remove_below=11))
    read = Settings.read({"GALLERY_AUTOSCALE__MAX": "40", "GALLERY_AUTOSCALE__LATENCY": "5"})
    assert Rules.from_settings(read.autoscale) == Rules(max=40, latency=5)


async def test_the_advice_uses_heartbeats_and_due_images(client, gallery):
    async def advice():
        return (await client.get("/admin/autoscale")).json()

    assert ((await advice())["wanted"], (await advice())["rule"]) == (1, "minimum")
    async with gallery.database.writing() as db:
        await db.execute("""
            INSERT INTO worker (name, version, concurrency, started_at, seen_at, ended_at) VALUES
                ('here', '1', 2, now() - interval '1 hour', now(), NULL),
                ('restarting', '1', 2, now() - interval '1 hour', now() - interval '40 s', NULL),
                ('lost', '1', 2, now() - interval '1 hour', now() - interval '10 minutes', NULL),
                ('ended', '1', 2, now() - interval '1 hour', now() - interval '6 minutes', now())
        """)
    await upload_image(gallery)
    found = await advice()
    assert (found["workers"], found["alive"], found["waiting"]) == (2, 1, 1)
    assert (found["wanted"], found["rule"]) == (1, "quiet")

    async with gallery.database.writing() as db:
        await db.execute("UPDATE image SET next_attempt_at = now() - interval '31 s'")
    found = await advice()
    assert (found["wanted"], found["rule"]) == (3, "latency")
    assert found["oldestSeconds"] >= 31
    async with gallery.database.writing() as db:
        await db.execute("UPDATE image SET work_state = NULL, status = 'READY'")
        await db.execute("""
            INSERT INTO timeline (image_id, stage, attempt, duration)
            SELECT id, 'ready', n, interval '6 s' FROM image, generate_series(1, 30) AS n
        """)
    found = await advice()
    assert (found["waiting"], found["busy"], found["rule"]) == (0, 0.75, "steady"), "180 of 4 × 60 seconds were work"
    await client.post("/admin/queues/pause")
    assert ((await advice())["wanted"], (await advice())["rule"]) == (2, "paused")


async def test_keda_reads_the_wanted_number(client):
    ask, scale = yaml.safe_load_all((ROOT / "deploy" / "keda" / "scaledobject.yaml").read_text())
    (trigger,) = scale["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == ask["metadata"]["name"]
    assert (trigger["metadata"]["targetValue"], trigger["metricType"]) == ("1", "AverageValue"), "as many as are wanted"
    path = trigger["metadata"]["url"].partition(":3000")[2]
    assert isinstance((await client.get(path)).json()[trigger["metadata"]["valueLocation"]], int)
    assert scale["spec"]["scaleTargetRef"]["name"] == "gallery-worker"
    assert (scale["spec"]["minReplicaCount"], scale["spec"]["maxReplicaCount"]) == (RULES.min, RULES.max)


def test_the_simulated_day_is_up_to_date():
    day = runpy.run_path(str(ROOT / "docs" / "simulate_autoscale.py"))
    seconds = day["simulate"](day["day"](), day["RULES"])
    assert day["draw"](seconds) == day["PICTURE"].read_text(), "run python docs/simulate_autoscale.py"
    page = " ".join((ROOT / "docs" / "guides" / "autoscaling.md").read_text().split())
    for number in ("452,251 images", "99.4 % of the day", "126 s", "4,794 waited", "56 worker hours", "43 changes"):
        assert number in day["summary"](seconds)
        assert number.replace(" s", " seconds") in page if number == "126 s" else number in page, number
