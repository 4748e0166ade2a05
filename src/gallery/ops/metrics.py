"""Everything that is measured where it happens, on one page. What is computed when somebody asks is in `readings`.

Labels come from sets that we know: templates of routes, outcomes, our own codes. Nothing of a client's is ever one.
"""

from gallery.ops.instruments import Counter, Gauge, Histogram

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
PATIENT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
MIB = 1024 * 1024
SIZES = (MIB / 16, MIB / 4, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB)

# --- the API ----------------------------------------------------------------------------------------------------------

REQUESTS = Histogram(
    "http_request_duration_seconds",
    "Requests that were answered, and how long they took; a stream until its head was sent",
    *("method", "route", "status"),
    buckets=QUICK,
)
LIMITED = Counter("rate_limited_total", "Requests refused because their caller sent too many", "limit")
STREAMS_REFUSED = Counter("sse_refused_total", "Streams refused: the caller, or the process, has too many", "limit")
OVERLOADED = Counter("overloaded_total", "Requests refused because too many are under way in this process")
STREAMS = Gauge("sse_clients", "Clients that listen to the notification stream", "livesum")
CACHE = Counter("cache_lookups_total", "Answers looked for in the cache: hit, miss, off or away", "kind", "result")

# --- images -----------------------------------------------------------------------------------------------------------

UPLOADED = Counter("images_uploaded_total", "New images", known_as="images.uploaded")
UPLOADED_AGAIN = Counter("images_uploaded_again_total", "Uploads of bytes that their owner had already")
UPLOAD_SIZE = Histogram(
    "upload_size_bytes", "The originals of new images, in bytes", buckets=SIZES, known_as="upload.size"
)
ATTEMPTS = Counter("attempts_total", "Attempts to render an image, by how they ended", "outcome")
FAILURES = Counter("images_failed_total", "Images that have become FAILED, by the code of their error", "code")
STEP = Histogram("attempt_step_seconds", "What an attempt takes: fetch, render, put, settle", "step", buckets=PATIENT)
READY = Histogram("image_ready_seconds", "From an upload to READY, the first time", buckets=PATIENT)
SWEEPS = Counter("sweeps_total", "Sweeps")
SWEPT = Counter("swept_total", "What sweeps did: images rung for, objects removed", "what")
BUGS = Counter("jobs_failed_total", "Jobs that ended with a bug of ours")

# --- events -----------------------------------------------------------------------------------------------------------

EVENTS_READ = Gauge("events_read", "The number of the last event that every feed has handed out", "livemin")
EVENT_DELAY = Histogram(
    "event_delay_seconds", "From the change of an image to its event at the clients' streams", buckets=QUICK
)

# --- what we need -----------------------------------------------------------------------------------------------------

AWAY = Counter("away_total", "Calls that failed because a server was away", "server")
REFUSED = Counter(
    "refused_total", "Calls that a server refused: wrong or revoked credentials, missing rights", "server"
)
CONNECTIONS = Gauge("database_connections_in_use", "Connections to PostgreSQL that are lent, or waited for", "livesum")
MOST_CONNECTIONS = Gauge("database_connections_max", "Connections to PostgreSQL that may be lent", "livesum")
