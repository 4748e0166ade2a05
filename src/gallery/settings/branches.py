"""The branches of the tree: the name, type, limits and description of each setting."""

from typing import Annotated

from msgspec import Meta, Struct

MIB = 1024 * 1024
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
HttpUrl = Annotated[str, Meta(pattern="^https?://")]
STOP_TIMEOUT_SECONDS = 25  # for requests that are in progress when a process stops
RATE_PATTERN = "^[1-9][0-9]{0,6} per [1-9][0-9]{0,5}( s)?$"


class DatabaseSettings(Struct, frozen=True):
    url: Annotated[
        str | None, Meta(description="PostgreSQL, postgresql://…; not set: an embedded server is started")
    ] = None
    read_replica_url: Annotated[
        str, Meta(description="Streaming replicas, for reads that may be slightly stale; several with commas")
    ] = ""
    replica_max_lag: Annotated[Seconds, Meta(description="The largest lag of a replica that is read, in seconds")] = 10
    direct_url: Annotated[
        str | None, Meta(description="PostgreSQL without PgBouncer, for migrations and backups; not set: DATABASE_URL")
    ] = None
    pgbouncer: Annotated[
        bool, Meta(description="The URLs are those of PgBouncer with pool_mode=transaction: use no session state")
    ] = False
    pool_size: Annotated[Count, Meta(description="The most connections of one process to each server")] = 20
    timeout: Annotated[Seconds, Meta(description="Longest wait for a connection or an answer, in seconds")] = 10
    migrate: Annotated[bool, Meta(description="Migrate the schema at start; false: only `gallery migrate` does")] = True


class RedisSettings(Struct, frozen=True):
    url: Annotated[
        str | None,
        Meta(
            description="Valkey or Redis, redis://…; a cluster is redis+cluster://… or several nodes with commas. "
            "Not set: an embedded server is started"
        ),
    ] = None
    queues: Annotated[
        int, Meta(ge=1, le=64, description="Queues that share the jobs; in a cluster, each can be on another node")
    ] = 1
    timeout: Annotated[Seconds, Meta(description="Longest wait for an answer, in seconds")] = 1
    prefix: Annotated[str, Meta(description="The prefix of every key")] = "gallery"


class S3Settings(Struct, frozen=True):
    endpoint: Annotated[str | None, Meta(description="The S3 server; not needed for AWS")] = None
    public_endpoint: Annotated[
        str | None,
        Meta(description="The S3 server as clients reach it, in URLs signed for uploads; not set: `S3_ENDPOINT`"),
    ] = None
    bucket: Annotated[str | None, Meta(description="The bucket; not set: objects are files in the data directory")] = (
        None
    )
    access_key: Annotated[str | None, Meta(description="Access key id")] = None
    secret_key: Annotated[str | None, Meta(description="Secret access key")] = None
    region: Annotated[str, Meta(description="Region")] = "us-east-1"
    timeout: Annotated[Seconds, Meta(description="Longest wait for one request, in seconds")] = 30
    path_style: Annotated[
        bool | None,
        Meta(description="Put the bucket's name in the path instead of the host; not set: only with an endpoint"),
    ] = None
    checksum: Annotated[
        str,
        Meta(pattern="^(sha256|crc64nvme|)$", description="Checksum sent with each put: sha256, crc64nvme, or none"),
    ] = ""
    create_bucket: Annotated[bool, Meta(description="Create the bucket at start if it does not exist")] = True


class ObjectsSettings(Struct, frozen=True):
    url: Annotated[
        str | None,
        Meta(description="The object store, instead of `S3_BUCKET`: s3://bucket/path, gs://…, az://…, file:///…"),
    ] = None


class UploadSettings(Struct, frozen=True):
    max_bytes: Annotated[Count, Meta(description="The largest file, in bytes")] = 10 * MIB
    max_pixels: Annotated[Count, Meta(description="The most pixels of a picture")] = 200_000_000
    max_side: Annotated[int, Meta(ge=1, le=65_535, description="The longest side, in pixels")] = 65_535
    quota_bytes: Annotated[
        int, Meta(ge=0, description="The largest total size of one owner's originals, in bytes; 0 is no limit")
    ] = 0
    max_under_way: Annotated[
        Count, Meta(description="The most uploads in several requests that one owner has under way")
    ] = 10_000
    ietf: Annotated[bool, Meta(description="Also take the IETF's resumable uploads, where those by tus are")] = False
    key_lease: Annotated[
        Seconds, Meta(description="How long an Idempotency-Key stays locked after its process has died, in seconds")
    ] = 30


class WorkerSettings(Struct, frozen=True):
    concurrency: Annotated[Count, Meta(description="Pictures that one worker renders at once")] = 2
    deadline: Annotated[Seconds, Meta(description="Longest time to render one picture, in seconds")] = 60
    memory: Annotated[
        int,
        Meta(
            ge=256 * MIB,
            description="The most memory of one renderer, in bytes; the API refuses pictures that would take more, so "
            "set it for the API too",
        ),
    ] = 2560 * MIB
    lease: Annotated[Seconds, Meta(description="How long a worker keeps an image without renewal, in seconds")] = 15
    sweep_every: Annotated[Seconds, Meta(description="Pause between two sweeps, in seconds")] = 5
    metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="The port of a worker's /metrics, /livez and /readyz; 0: none")
    ] = 0


class AutoscaleSettings(Struct, frozen=True):
    min: Annotated[Count, Meta(description="The fewest workers to request; the sweep needs one")] = 1
    max: Annotated[Count, Meta(description="The most workers to request")] = 10
    add_above: Annotated[Count, Meta(description="Add workers when more images wait than this")] = 100
    remove_below: Annotated[int, Meta(ge=0, description="Remove a worker when fewer images wait than this")] = 20
    latency: Annotated[
        Seconds, Meta(description="Add a worker when an image has waited longer than this, in seconds")
    ] = 30
    add_cooldown: Annotated[
        Seconds, Meta(description="Pause after a worker was added before more are requested, in seconds")
    ] = 30
    remove_cooldown: Annotated[
        Seconds, Meta(description="Pause after a worker was added or removed before one is removed, in seconds")
    ] = 300


class ServeSettings(Struct, frozen=True):
    workers: Annotated[Count, Meta(description="API processes that share the port")] = 1
    header_timeout: Annotated[Seconds, Meta(description="Longest time for a request's headers, in seconds")] = 10
    min_body_rate: Annotated[
        int, Meta(ge=0, description="The lowest rate of a request body, in bytes a second; 0 is no limit")
    ] = 1024
    body_grace: Annotated[
        Seconds, Meta(description="How long a body may be slower than that rate, or pause, in seconds")
    ] = 10
    drain: Annotated[
        float,
        Meta(ge=0, description="How long to keep serving after SIGTERM, for the load balancer to notice, in seconds"),
    ] = 0

    @property
    def max_stop_seconds(self) -> float:
        """The longest time from SIGTERM to the end of the process, independent of its clients."""
        return self.drain + STOP_TIMEOUT_SECONDS + 5


class RateSettings(Struct, frozen=True):
    enabled: Annotated[
        bool | None,
        Meta(description="Limit the rate of requests; not set: true, but false in the default open mode on loopback"),
    ] = None
    stranger: Annotated[str, Meta(pattern=RATE_PATTERN, description="Requests of one address, as N per S seconds")] = (
        "300 per 60"
    )
    uploads: Annotated[str, Meta(pattern=RATE_PATTERN, description="Uploads of one address, as N per S seconds")] = (
        "60 per 60"
    )
    renditions: Annotated[
        str, Meta(pattern=RATE_PATTERN, description="Originals and renditions read by one address, as N per S seconds")
    ] = "6000 per 60"
    key_factor: Annotated[
        Count, Meta(description="How many times higher the limits of an authenticated caller are")
    ] = 10
    when_valkey_is_away: Annotated[
        str, Meta(pattern="^(open|closed)$", description="While Valkey is unavailable: open: no limits; closed: 503")
    ] = "open"


class CacheSettings(Struct, frozen=True):
    enabled: Annotated[bool, Meta(description="Cache answers in Valkey")] = True
    url: Annotated[
        str | None,
        Meta(description="A separate Valkey, which may evict (maxmemory with allkeys-lru); not set: REDIS_URL"),
    ] = None
    max_entry_bytes: Annotated[Count, Meta(description="The largest answer that is cached, in bytes")] = 512 * 1024
    seconds: Annotated[int, Meta(ge=1, le=60, description="The longest age of a cached answer, in seconds")] = 60
    response_bytes: Annotated[
        int, Meta(ge=0, description="Memory of each API process for finished responses, in bytes; 0 keeps none")
    ] = 32 * MIB


class NotificationsSettings(Struct, frozen=True):
    keep_hours: Annotated[Count, Meta(description="How long events can be replayed, in hours")] = 24
    heartbeat: Annotated[float, Meta(gt=0, le=15, description="Pause between two heartbeats, in seconds")] = 10
    max_streams: Annotated[
        Count | None,
        Meta(description="The most streams of one process; not set: half its limit of open files, at most 10,000"),
    ] = None
    max_streams_per_caller: Annotated[
        Count | None,
        Meta(
            description="The most streams of one caller (API key, owner or address) in one process; not set: 100, or "
            "no limit in the default open mode on loopback"
        ),
    ] = None
    backlog: Annotated[Count, Meta(description="The most events that wait for one slow client")] = 1000
    patience: Annotated[
        Seconds, Meta(description="How long a client may read nothing before its stream is closed, in seconds")
    ] = 20


class AccessSettings(Struct, frozen=True):
    open: Annotated[
        bool | None,
        Meta(
            description="true: every call is allowed without credentials. false: credentials are required (API keys, "
            "and JWTs if configured). Not set: true on a loopback address without JWT settings, else false"
        ),
    ] = None
    jwt_secret: Annotated[str | None, Meta(description="The secret of HS256 bearer tokens, 32 bytes or more")] = None
    jwt_public_key: Annotated[
        str | None, Meta(description="The public key of RS256, ES256 or EdDSA bearer tokens, as PEM")
    ] = None
    jwks_url: Annotated[
        str | None, Meta(description="The URL of the issuer's public keys (JWKS), instead of one public key")
    ] = None
    jwt_algorithms: Annotated[
        str,
        Meta(
            description="Accepted algorithms, with commas; "
            "not set: HS256 with a secret, RS256, ES256 and EdDSA with public keys"
        ),
    ] = ""
    jwt_audience: Annotated[
        str | None, Meta(description="The audience that `aud` must name; not set: tokens with an `aud` are refused")
    ] = None
    jwt_issuer: Annotated[str | None, Meta(description="The required `iss`; not set: it is not checked")] = None
    jwt_scope_claim: Annotated[
        str,
        Meta(
            description="The claim with a token's scopes, a string separated by spaces or an array. A path such as "
            "`realm_access.roles` reads nested objects"
        ),
    ] = "scope"
    jwt_default_scopes: Annotated[
        str,
        Meta(description="Scopes of tokens without that claim, e.g. `images:read images:write`; not set: none"),
    ] = ""
    jwt_owner_claim: Annotated[
        str, Meta(description="The claim that names the owner of a caller's images; a path as above")
    ] = "sub"
    clock_skew: Annotated[
        float, Meta(ge=0, le=300, description="How far a token issuer's clock may be off, in seconds")
    ] = 30
    signing_keys: Annotated[
        str | None,
        Meta(
            description="Keys of signed links, cookies and tickets: `id:secret` in base64, 32 bytes or more, with "
            "commas; the first signs, all verify. Not set: one is created in the database"
        ),
    ] = None
    link_keys: Annotated[
        str | None,
        Meta(
            description="Keys by which other servers sign URLs of pictures, in the same form, beside those of "
            "`gallery keys links`"
        ),
    ] = None
    link_window: Annotated[
        int,
        Meta(
            ge=1,
            le=302_400,
            description="How long the URLs of `signed=true` stay the same, in seconds; they are valid for one to two "
            "of these",
        ),
    ] = 3600


class BackupSettings(Struct, frozen=True):
    endpoint: Annotated[
        str | None, Meta(description="The S3 server that holds backups; not set: that of `S3_ENDPOINT`")
    ] = None
    access_key: Annotated[str | None, Meta(description="Access key id for backups; not set: `S3_ACCESS_KEY`")] = None
    secret_key: Annotated[str | None, Meta(description="Secret key for backups; not set: `S3_SECRET_KEY`")] = None
    region: Annotated[str | None, Meta(description="Region of the backups' bucket; not set: `S3_REGION`")] = None
    keep: Annotated[Count, Meta(description="Backups to keep at one location; older ones are deleted")] = 7


class LogsSettings(Struct, frozen=True):
    level: Annotated[
        str, Meta(pattern="^(?i:debug|info|warning|error)$", description="debug, info, warning, error")
    ] = "info"
    format: Annotated[
        str, Meta(pattern="^(auto|json|text)$", description="json, text, or auto: text on a terminal")
    ] = "auto"


class DatadogSettings(Struct, frozen=True):
    agent_host: Annotated[
        str | None, Meta(description="The Datadog agent that receives metrics (DogStatsD); not set: none are sent")
    ] = None
    port: Annotated[int, Meta(ge=1, le=65535, description="The agent's UDP port")] = 8125


class TracingSettings(Struct, frozen=True):
    endpoint: Annotated[
        HttpUrl | None,
        Meta(description="The OTLP receiver of traces, e.g. http://collector:4318; not set: no traces"),
    ] = None
    traces_endpoint: Annotated[
        HttpUrl | None, Meta(description="The same with the whole path, e.g. …/v1/traces; takes precedence")
    ] = None
    protocol: Annotated[str, Meta(pattern="^http/protobuf$", description="The protocol: only http/protobuf")] = (
        "http/protobuf"
    )
    service_name: Annotated[
        str | None, Meta(description="The service's name in traces; not set: gallery-api and gallery-worker")
    ] = None
    disabled: Annotated[bool, Meta(description="Send no traces, even with an endpoint")] = False

    @property
    def url(self) -> str | None:
        """The URL to post traces to: https://opentelemetry.io/docs/specs/otel/protocol/exporter/."""
        if self.traces_endpoint or not self.endpoint:
            return self.traces_endpoint
        return f"{self.endpoint.rstrip('/')}/v1/traces"
