"""All metrics that are measured where things happen. The values computed for each scrape are in `readings`.

Labels come from fixed sets: templates of routes, outcomes, problem codes. A client's input is never a label.
"""

from gallery.ops.instruments import Counter, Gauge, Histogram

FAST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
SLOW_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
MIB = 1024 * 1024
SIZE_BUCKETS = (MIB / 16, MIB / 4, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB)

# --- the API ----------------------------------------------------------------------------------------------------------

REQUESTS = Histogram(
    "http_request_duration_seconds",
    "Duration of answered requests; of a stream, until its headers were sent",
    *("method", "route", "status"),
    buckets=FAST_BUCKETS,
)
RATE_LIMITED = Counter("rate_limited_total", "Requests refused by a rate limit", "limit")
STREAMS_REFUSED = Counter(
    "sse_refused_total", "Streams refused because the caller or the process has too many", "limit"
)
OVERLOADED = Counter("overloaded_total", "Requests refused because this process handles too many")
STREAMS = Gauge("sse_clients", "Clients connected to the notification stream", "livesum")
CACHE = Counter("cache_lookups_total", "Cache lookups by result: memory, hit, miss, off or away", "kind", "result")

# --- images -----------------------------------------------------------------------------------------------------------

UPLOADED = Counter("images_uploaded_total", "New images", datadog_name="images.uploaded")
DUPLICATE_UPLOADS = Counter("images_uploaded_again_total", "Uploads whose bytes their owner already had")
UPLOAD_SIZE = Histogram(
    "upload_size_bytes",
    "Size of the originals of new images, in bytes",
    buckets=SIZE_BUCKETS,
    datadog_name="upload.size",
)
UPLOADS_BEGUN = Counter("uploads_begun_total", "Uploads in several requests that began, by protocol", "protocol")
UPLOADS_ENDED = Counter(
    "uploads_ended_total",
    "Uploads in several requests that ended: image, duplicate, refused, cancelled or expired",
    *("protocol", "outcome"),
)
ATTEMPTS = Counter("attempts_total", "Attempts to render an image, by outcome", "outcome")
FAILURES = Counter("images_failed_total", "Images that became FAILED, by error code", "code")
STEP_DURATION = Histogram(
    "attempt_step_seconds",
    "Duration of each step of an attempt: fetch, wait (for a renderer), render, put, settle",
    "step",
    buckets=SLOW_BUCKETS,
)
TIME_TO_READY = Histogram("image_ready_seconds", "Time from an upload to its first READY", buckets=SLOW_BUCKETS)
SWEEPS = Counter("sweeps_total", "Completed sweeps")
SWEPT = Counter("swept_total", "Results of sweeps: images enqueued, objects removed", "what")
JOBS_FAILED = Counter("jobs_failed_total", "Jobs that ended with an unexpected error")

PICTURES_MADE = Histogram(
    "picture_render_seconds", "Rendering time of pictures on demand, by outcome", "outcome", buckets=SLOW_BUCKETS
)
PICTURES_REFUSED = Counter(
    "pictures_refused_total", "New pictures on demand refused by the budget or the queue", "bound"
)

# --- events -----------------------------------------------------------------------------------------------------------

EVENTS_READ = Gauge("events_read", "Number of the last event that every feed has delivered", "livemin")
EVENT_DELAY = Histogram(
    "event_delay_seconds", "Time from the change of an image to its event in the clients' streams", buckets=FAST_BUCKETS
)

# --- dependencies -----------------------------------------------------------------------------------------------------

UNAVAILABLE = Counter("away_total", "Calls that failed because a server was unavailable", "server")
REFUSED = Counter(
    "refused_total", "Calls that a server refused: wrong or revoked credentials, missing permissions", "server"
)
CONNECTIONS = Gauge("database_connections_in_use", "Connections to PostgreSQL in use or requested", "livesum")
MAX_CONNECTIONS = Gauge("database_connections_max", "Maximum of connections to PostgreSQL", "livesum")
