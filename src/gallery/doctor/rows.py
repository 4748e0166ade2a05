"""Checks of the rows: images that no worker takes, failed images, backups."""

from gallery.doctor.model import CheckContext, Verdict, notice, well, wrong
from gallery.doctor.postgres import get_connection

MAX_DUE_SECONDS = 300  # the longest normal wait of a due image
MAX_OVERDUE_LEASE_SECONDS = 60  # the sweep finds an expired lease within this time
MAX_SWEEP_AGE_SECONDS = 120
MAX_BACKUP_AGE_SECONDS = 2 * 86_400  # as for the alert in deploy/prometheus/alerts.yml

STUCK_IMAGES = """
    SELECT count(*) FILTER (WHERE work_state = 'due' AND next_attempt_at < now() - $1 * interval '1 s') AS overdue,
           count(*) FILTER (WHERE work_state = 'claimed' AND lease_until < now() - $2 * interval '1 s') AS lost,
           count(*) FILTER (WHERE work_state = 'due') AS due,
           coalesce(max(deferrals) FILTER (WHERE work_state IS NOT NULL), 0) AS deferrals,
           (SELECT extract(epoch FROM now() - nullif(swept_at, '-infinity'))::float FROM installation) AS unswept
    FROM image WHERE work_state IS NOT NULL AND deleted_at IS NULL
"""
FAILED_IMAGES = """
    SELECT error_code, count(*) FROM image
    WHERE status = 'FAILED' AND deleted_at IS NULL AND updated_at > now() - interval '1 day'
    GROUP BY error_code ORDER BY 2 DESC
"""
BACKUPS = """
    SELECT extract(epoch FROM now() - max(completed_at))::float AS created,
           extract(epoch FROM now() - max(started_at) FILTER (WHERE verified_at IS NOT NULL))::float AS proved
    FROM backup
"""


async def stuck_images(context: CheckContext) -> Verdict:
    """Images that are overdue, or whose worker was lost, by PostgreSQL's clock."""
    row = await get_connection(context).fetchrow(STUCK_IMAGES, MAX_DUE_SECONDS, MAX_OVERDUE_LEASE_SECONDS)
    assert row is not None  # an aggregate  # noqa: S101
    facts = {"due": row["due"], "overdue": row["overdue"], "lost": row["lost"], "unswept": row["unswept"]}
    alive = row["unswept"] is not None and row["unswept"] < MAX_SWEEP_AGE_SECONDS
    if row["overdue"] or row["lost"]:
        says = (
            f"{row['overdue']} images are due for more than {MAX_DUE_SECONDS // 60} minutes, "
            f"{row['lost']} lost their worker"
        )
        if not alive:
            return wrong(f"{says}. {_sweep_age_sentence(row['unswept'])}.", "Start gallery worker.", **facts)
        if row["deferrals"]:
            do = "A server is unavailable: an image's timeline (GET /images/ID/timeline) names it."
            return wrong(f"{says}; some were deferred {row['deferrals']} times.", do, **facts)
        return wrong(f"{says}, though workers are alive.", "Add workers: they do not keep up with the queue.", **facts)
    if not alive:
        return notice(
            f"{_sweep_age_sentence(row['unswept'])}.", "Start gallery worker: it sweeps every few seconds.", **facts
        )
    return well(f"{row['due']} images are due, none for long.", **facts)


async def failed_images(context: CheckContext) -> Verdict:
    rows = await get_connection(context).fetch(FAILED_IMAGES)
    if not rows:
        return well("No image has failed within a day.")
    counts = {row["error_code"] or "?": row["count"] for row in rows}
    codes = ", ".join(f"{count} {code}" for code, count in counts.items())
    return notice(
        f"Images that failed within a day: {codes}.",
        "Damaged pictures fail again; render others again with POST /images/ID/reprocess.",
        failed=counts,
    )


async def backups(context: CheckContext) -> Verdict:
    """The age of the newest verified backup."""
    row = await get_connection(context).fetchrow(BACKUPS)
    assert row is not None  # an aggregate  # noqa: S101
    created, proved = row["created"], row["proved"]
    if created is None:
        return notice("There is no backup.", "Run gallery backup create, then gallery backup verify.")
    if proved is None:
        return notice("No backup was ever verified.", "Run gallery backup verify.")
    says = f"The newest verified backup is {proved / 3600:.0f} hours old."
    if proved > MAX_BACKUP_AGE_SECONDS:
        return wrong(
            says, "Run gallery backup create and verify, and check the timer that runs them.", seconds=round(proved)
        )
    return well(says, seconds=round(proved))


def _sweep_age_sentence(seconds: float | None) -> str:
    return "No worker has swept yet" if seconds is None else f"No worker has swept for {seconds / 60:.0f} minutes"
