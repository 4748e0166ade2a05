"""What the rows say: images that wait and nobody who comes for them, images that failed, backups."""

from gallery.doctor.model import Patient, Verdict, notice, well, wrong
from gallery.doctor.postgres import connection

LONG = 300  # seconds that a due image may wait
LOST = 60  # seconds after the end of a lease in which the sweep has found it
QUIET = 120  # seconds without any sweep
OLD = 2 * 86_400  # seconds, as for the alert in deploy/prometheus/alerts.yml

WAITING = """
    SELECT count(*) FILTER (WHERE work = 'due' AND next_attempt_at < now() - $1 * interval '1 s') AS overdue,
           count(*) FILTER (WHERE work = 'taken' AND lease_until < now() - $2 * interval '1 s') AS lost,
           count(*) FILTER (WHERE work = 'due') AS due,
           coalesce(max(deferrals) FILTER (WHERE work IS NOT NULL), 0) AS deferrals,
           (SELECT extract(epoch FROM now() - nullif(swept_at, '-infinity'))::float FROM installation) AS unswept
    FROM image WHERE work IS NOT NULL AND deleted_at IS NULL
"""
FAILED = """
    SELECT error_code, count(*) FROM image
    WHERE status = 'FAILED' AND deleted_at IS NULL AND updated_at > now() - interval '1 day'
    GROUP BY error_code ORDER BY 2 DESC
"""
BACKUPS = """
    SELECT extract(epoch FROM now() - max(created_at))::float AS created,
           extract(epoch FROM now() - max(began_at) FILTER (WHERE verified_at IS NOT NULL))::float AS proved
    FROM backup
"""


async def stuck_images(patient: Patient) -> Verdict:
    """Images that are due long since, or whose worker was lost, by PostgreSQL's clock."""
    row = await connection(patient).fetchrow(WAITING, LONG, LOST)
    assert row is not None  # an aggregate  # noqa: S101
    facts = {"due": row["due"], "overdue": row["overdue"], "lost": row["lost"], "unswept": row["unswept"]}
    alive = row["unswept"] is not None and row["unswept"] < QUIET
    if row["overdue"] or row["lost"]:
        says = f"{row['overdue']} images are due for more than {LONG // 60} minutes, {row['lost']} lost their worker"
        if not alive:
            return wrong(f"{says}. {_unswept(row['unswept'])}.", "Start gallery worker.", **facts)
        if row["deferrals"]:
            do = "Something of ours is away: the timeline of an image (GET /images/ID/timeline) says what."
            return wrong(f"{says}; some were put off {row['deferrals']} times.", do, **facts)
        return wrong(
            f"{says}, though workers sweep.", "Add workers; the queue is longer than they can render.", **facts
        )
    if not alive:
        return notice(f"{_unswept(row['unswept'])}.", "Start gallery worker: each sweeps every few seconds.", **facts)
    return well(f"{row['due']} images are due, none for long.", **facts)


async def failed_images(patient: Patient) -> Verdict:
    rows = await connection(patient).fetch(FAILED)
    if not rows:
        return well("No image has failed within a day.")
    counts = {row["error_code"] or "?": row["count"] for row in rows}
    told = ", ".join(f"{count} {code}" for code, count in counts.items())
    return notice(
        f"Images that failed within a day: {told}.",
        "Bad pictures stay so; others get a new try by POST /images/ID/reprocess.",
        failed=counts,
    )


async def backups(patient: Patient) -> Verdict:
    """How old the state is that can surely be restored."""
    row = await connection(patient).fetchrow(BACKUPS)
    assert row is not None  # an aggregate  # noqa: S101
    created, proved = row["created"], row["proved"]
    if created is None:
        return notice("There is no backup that we know of.", "Make one, and prove it: gallery backup create, verify.")
    if proved is None:
        return notice("No backup was ever verified.", "Prove the newest one: gallery backup verify.")
    says = f"What can surely be restored is {proved / 3600:.0f} hours old."
    if proved > OLD:
        return wrong(
            says, "Run gallery backup create and verify, and see what their timer says.", seconds=round(proved)
        )
    return well(says, seconds=round(proved))


def _unswept(seconds: float | None) -> str:
    return "No worker has swept yet" if seconds is None else f"No worker has swept for {seconds / 60:.0f} minutes"
