"""How hard the suite tries: the short form in every run of the tests, the long one by `make faults`."""

from typing import NamedTuple


class Form(NamedTuple):
    """Seconds, and numbers of times."""

    load: float  # seconds of uploads around a fault
    kills: int  # of the API
    decodes: int  # workers killed while they decode
    away: float  # that a server is gone, paused or slow
    frozen: float  # that a worker is
    pending: int  # images that wait when Valkey is flushed
    crowd: int  # listeners that come and go
    races: int  # deletes and edits against workers
    healthy: int  # pictures around a poisonous one
    backlog: int  # small images behind large ones
    upheavals: int  # times that everything is killed


SHORT = Form(
    load=4,
    kills=3,
    decodes=3,
    away=3,
    frozen=6,
    pending=60,
    crowd=200,
    races=60,
    healthy=100,
    backlog=40,
    upheavals=1,
)
LONG = Form(
    load=20,
    kills=20,
    decodes=10,
    away=20,
    frozen=90,
    pending=200,
    crowd=200,
    races=200,
    healthy=100,
    backlog=2000,
    upheavals=5,
)
FORMS = {"short": SHORT, "long": LONG}
