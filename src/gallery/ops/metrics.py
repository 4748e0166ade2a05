"""Everything that is measured where it happens, on one page. What is computed when somebody asks is in `readings`.

Labels come from sets that we know: templates of routes, outcomes, our own codes. Nothing of a client's is ever one.
"""

from gallery.ops.instruments import Counter, Gauge, Histogram

FAST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
SLOW_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
MIB = 1024 * 1024
SIZE_BUCKETS = (MIB / 16, MIB / 4, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB)

# --- the API ----------------------------------------------------------------------------------------------------------

REQUESTS = Histogram(
    "http_request_duration_seconds",
    "Requests that were answered, and how long they took; a stream until its head was sent",
    *("method", "route", "status"),
    buckets=FAST_BUCKETS,
)
RATE_LIMITED = Counter("rate_limited_total", "Requests refused because their caller sent too many", "limit")
STREAMS_REFUSED = Counter("sse_refused_total", "Streams refused: the caller, or the process, has too many", "limit")
OVERLOADED = Counter("overloaded_total", "Requests refused because too many are under way in this process")
STREAMS = Gauge("sse_clients", "Clients that listen to the notification stream", "livesum")
CACHE = Counter("cache_lookups_total", "Answers looked for in the cache: hit, miss, off or away", "kind", "result")

# --- images -----------------------------------------------------------------------------------------------------------

UPLOADED = Counter("images_uploaded_total", "New images", datadog_name="images.uploaded")
DUPLICATE_UPLOADS = Counter("images_uploaded_again_total", "Uploads of bytes that their owner had already")
UPLOAD_SIZE = Histogram(
    "upload_size_bytes", "The originals of new images, in bytes", buckets=SIZE_BUCKETS, datadog_name="upload.size"
)
ATTEMPTS = Counter("attempts_total", "Attempts to render an image, by how they ended", "outcome")
FAILURES = Counter("images_failed_total", "Images that have become FAILED, by the code of their error", "code")
STEP_DURATION = Histogram(
    "attempt_step_seconds", "What an attempt takes: fetch, render, put, settle", "step", buckets=SLOW_BUCKETS
)
TIME_TO_READY = Histogram("image_ready_seconds", "From an upload to READY, the first time", buckets=SLOW_BUCKETS)
SWEEPS = Counter("sweeps_total", "Sweeps")
SWEPT = Counter("swept_total", "What sweeps did: images rung for, objects removed", "what")
JOBS_FAILED = Counter("jobs_failed_total", "Jobs that ended with a bug of ours")

# --- events -----------------------------------------------------------------------------------------------------------

EVENTS_READ = Gauge("events_read", "The number of the last event that every feed has handed out", "livemin")
EVENT_DELAY = Histogram(
    "event_delay_seconds", "From the change of an image to its event at the clients' streams", buckets=FAST_BUCKETS
)

# --- what we need -----------------------------------------------------------------------------------------------------

UNAVAILABLE = Counter("away_total", "Calls that failed because a server was away", "server")
REFUSED = Counter(
    "refused_total", "Calls that a server refused: wrong or revoked credentials, missing rights", "server"
)
CONNECTIONS = Gauge("database_connections_in_use", "Connections to PostgreSQL that are lent, or waited for", "livesum")
MAX_CONNECTIONS = Gauge("database_connections_max", "Connections to PostgreSQL that may be lent", "livesum")
