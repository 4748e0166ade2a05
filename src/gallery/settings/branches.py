"""The branches of the tree, one for each room: what each setting is called, what it may be, and what it means."""

from typing import Annotated

from msgspec import Meta, Struct

MIB = 1024 * 1024
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
HttpUrl = Annotated[str, Meta(pattern="^https?://")]
STOP_TIMEOUT_SECONDS = 25  # seconds for requests that are under way when a process stops
RATE_PATTERN = "^[1-9][0-9]{0,6} per [1-9][0-9]{0,5}( s)?$"


class DatabaseSettings(Struct, frozen=True):
    url: Annotated[str | None, Meta(description="PostgreSQL, postgresql://…; without it an embedded one starts")] = None
    read_replica_url: Annotated[
        str, Meta(description="Its streaming replicas, for reads that may be a little old; several by commas")
    ] = ""
    replica_max_lag: Annotated[
        Seconds, Meta(description="How far a replica may be behind and still be read from, in seconds")
    ] = 10
    direct_url: Annotated[
        str | None, Meta(description="The way past PgBouncer, for migrations and backups; not set: as the others")
    ] = None
    pgbouncer: Annotated[
        bool,
        Meta(description="These URLs lead to PgBouncer with pool_mode=transaction: nothing outlives a transaction"),
    ] = False
    pool_size: Annotated[Count, Meta(description="Connections of one process at most, to each server")] = 20
    timeout: Annotated[Seconds, Meta(description="Longest wait for a connection or an answer, in seconds")] = 10
    migrate: Annotated[bool, Meta(description="Bring the schema up to date at start; else `gallery migrate` does")] = (
        True
    )


class RedisSettings(Struct, frozen=True):
    url: Annotated[
        str | None,
        Meta(
            description="Valkey or Redis, redis://…; a cluster is redis+cluster://… or several nodes by commas. "
            "Without it an embedded one starts"
        ),
    ] = None
    queues: Annotated[
        int, Meta(ge=1, le=64, description="Queues that the jobs are spread over: in a cluster, each may have its node")
    ] = 1
    timeout: Annotated[Seconds, Meta(description="Longest wait for an answer, in seconds")] = 1
    prefix: Annotated[str, Meta(description="What every key of ours begins with")] = "gallery"


class S3Settings(Struct, frozen=True):
    endpoint: Annotated[str | None, Meta(description="The S3 server; not needed for AWS")] = None
    bucket: Annotated[str | None, Meta(description="The bucket; with it set, objects live in S3, else in files")] = None
    access_key: Annotated[str | None, Meta(description="Access key id")] = None
    secret_key: Annotated[str | None, Meta(description="Secret access key")] = None
    region: Annotated[str, Meta(description="Region")] = "us-east-1"
    timeout: Annotated[Seconds, Meta(description="Longest wait for one request, in seconds")] = 30
    path_style: Annotated[
        bool | None,
        Meta(
            description="Whether the bucket stands in the path instead of the host; not set: with an endpoint it does"
        ),
    ] = None
    checksum: Annotated[
        str,
        Meta(
            pattern="^(sha256|crc64nvme|)$", description="Checksum that goes with each put: sha256, crc64nvme, or none"
        ),
    ] = ""
    create_bucket: Annotated[bool, Meta(description="Make the bucket at start if there is none")] = True


class ObjectsSettings(Struct, frozen=True):
    url: Annotated[
        str | None,
        Meta(description="Where objects live, instead of `S3_BUCKET`: s3://bucket/path, gs://…, az://…, file:///…"),
    ] = None


class UploadSettings(Struct, frozen=True):
    max_bytes: Annotated[Count, Meta(description="The largest file, in bytes")] = 10 * MIB
    max_pixels: Annotated[Count, Meta(description="The most pixels of a picture")] = 200_000_000
    max_side: Annotated[int, Meta(ge=1, le=65_535, description="The longest side, in pixels")] = 65_535
    quota_bytes: Annotated[
        int, Meta(ge=0, description="What the originals of one owner may take together, in bytes; 0 is no limit")
    ] = 0
    key_lease: Annotated[
        Seconds, Meta(description="How long an Idempotency-Key stays taken after its process has died, in seconds")
    ] = 30


class WorkerSettings(Struct, frozen=True):
    concurrency: Annotated[Count, Meta(description="Pictures that one worker renders at once")] = 2
    deadline: Annotated[Seconds, Meta(description="Longest time to render one picture, in seconds")] = 60
    memory: Annotated[
        int,
        Meta(
            ge=256 * MIB,
            description="Most memory of one renderer, in bytes; pictures that would take more are refused, so the API "
            "wants to know it too",
        ),
    ] = 2560 * MIB
    lease: Annotated[Seconds, Meta(description="How long a picture is a worker's own without renewal, in seconds")] = 15
    sweep_every: Annotated[Seconds, Meta(description="Pause between two sweeps, in seconds")] = 5
    metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="Where a worker answers /metrics, /livez and /readyz; 0: nowhere")
    ] = 0


class AutoscaleSettings(Struct, frozen=True):
    min: Annotated[Count, Meta(description="The fewest workers to ask for; somebody has to sweep")] = 1
    max: Annotated[Count, Meta(description="The most workers to ask for")] = 10
    add_above: Annotated[Count, Meta(description="Add workers when more images wait than this")] = 100
    remove_below: Annotated[int, Meta(ge=0, description="Remove a worker when fewer images wait than this")] = 20
    latency: Annotated[Seconds, Meta(description="Add a worker when one has waited longer than this, in seconds")] = 30
    add_cooldown: Annotated[
        Seconds, Meta(description="Pause after a worker has come before more are asked for, in seconds")
    ] = 30
    remove_cooldown: Annotated[
        Seconds, Meta(description="Pause after a worker has come or gone before one is removed, in seconds")
    ] = 300


class ServeSettings(Struct, frozen=True):
    workers: Annotated[Count, Meta(description="API processes behind the one port")] = 1
    header_timeout: Annotated[Seconds, Meta(description="Longest time for a request's headers, in seconds")] = 10
    min_body_rate: Annotated[
        int, Meta(ge=0, description="Slowest body, in bytes a second; 0 lets it take its time")
    ] = 1024
    body_grace: Annotated[
        Seconds, Meta(description="How long a body may fall short of that rate, or pause, in seconds")
    ] = 10
    drain: Annotated[
        float,
        Meta(ge=0, description="How long to serve on after SIGTERM, until the load balancer has noticed, in seconds"),
    ] = 0

    @property
    def max_stop_seconds(self) -> float:
        """Seconds from SIGTERM until we have ended, whatever our clients do."""
        return self.drain + STOP_TIMEOUT_SECONDS + 5


class RateSettings(Struct, frozen=True):
    enabled: Annotated[
        bool | None, Meta(description="Limit how often; without it, unless only this machine can reach us")
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
    key_factor: Annotated[Count, Meta(description="How many times as much somebody whom we know may do")] = 10
    when_valkey_is_away: Annotated[
        str, Meta(pattern="^(open|closed)$", description="open: no limits then; closed: 503")
    ] = "open"


class CacheSettings(Struct, frozen=True):
    enabled: Annotated[bool, Meta(description="Keep answers in Valkey")] = True
    url: Annotated[
        str | None,
        Meta(description="A Valkey of its own, which may evict (maxmemory with allkeys-lru); else that of REDIS_URL"),
    ] = None
    max_entry_bytes: Annotated[Count, Meta(description="The largest answer that is kept, in bytes")] = 512 * 1024
    seconds: Annotated[int, Meta(ge=1, le=60, description="Longest life of a cached answer, in seconds")] = 60


class NotificationsSettings(Struct, frozen=True):
    keep_hours: Annotated[Count, Meta(description="How long events can be replayed, in hours")] = 24
    heartbeat: Annotated[float, Meta(gt=0, le=15, description="Pause between two heartbeats, in seconds")] = 10
    max_streams: Annotated[
        Count | None,
        Meta(description="Streams of one process; not set: half of its limit of open files, and 10,000 at most"),
    ] = None
    max_streams_per_caller: Annotated[
        Count | None,
        Meta(
            description="Streams of one caller (API key, owner or address) in one process; not set: 100, or no limit "
            "where only this machine can reach us"
        ),
    ] = None
    backlog: Annotated[Count, Meta(description="Events that may wait for one slow reader")] = 1000
    patience: Annotated[Seconds, Meta(description="How long a reader may not read before it is closed, in seconds")] = (
        20
    )


class AccessSettings(Struct, frozen=True):
    open: Annotated[
        bool | None,
        Meta(
            description="true: everybody may do everything. false: credentials are required, by API key at least. "
            "Not set: open on a loopback address with no JWT setting, else closed"
        ),
    ] = None
    jwt_secret: Annotated[str | None, Meta(description="The secret of HS256 bearer tokens, 32 bytes or more")] = None
    jwt_public_key: Annotated[
        str | None, Meta(description="The public key of RS256, ES256 or EdDSA bearer tokens, as PEM")
    ] = None
    jwks_url: Annotated[
        str | None, Meta(description="Where the issuer publishes its public keys (JWKS), instead of one public key")
    ] = None
    jwt_algorithms: Annotated[
        str,
        Meta(
            description="Algorithms that tokens may have, with commas between; "
            "not set: HS256 with a secret, RS256, ES256 and EdDSA with public keys"
        ),
    ] = ""
    jwt_audience: Annotated[
        str | None, Meta(description="What `aud` must name; not set: tokens with an `aud` are refused")
    ] = None
    jwt_issuer: Annotated[str | None, Meta(description="What `iss` must be; not set: it is not looked at")] = None
    jwt_scope_claim: Annotated[
        str,
        Meta(
            description="The claim with a token's scopes: a string with spaces between them, or an array. A path such "
            "as `realm_access.roles` leads into objects"
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
            "commas between; the first signs, all verify. Not set: made once, in the database"
        ),
    ] = None


class BackupSettings(Struct, frozen=True):
    endpoint: Annotated[
        str | None, Meta(description="The S3 server that holds backups; not set: that of `S3_ENDPOINT`")
    ] = None
    access_key: Annotated[str | None, Meta(description="Access key id for backups; not set: `S3_ACCESS_KEY`")] = None
    secret_key: Annotated[str | None, Meta(description="Secret key for backups; not set: `S3_SECRET_KEY`")] = None
    region: Annotated[str | None, Meta(description="Region of the backups' bucket; not set: `S3_REGION`")] = None
    keep: Annotated[Count, Meta(description="How many backups stay at one place; older ones go")] = 7


class LogsSettings(Struct, frozen=True):
    level: Annotated[
        str, Meta(pattern="^(?i:debug|info|warning|error)$", description="debug, info, warning, error")
    ] = "info"
    format: Annotated[
        str, Meta(pattern="^(auto|json|text)$", description="json, text, or auto: text on a terminal")
    ] = "auto"


class DatadogSettings(Struct, frozen=True):
    agent_host: Annotated[
        str | None, Meta(description="The Datadog agent that is sent metrics (DogStatsD); without it nobody is")
    ] = None
    port: Annotated[int, Meta(ge=1, le=65535, description="Its UDP port")] = 8125


class TracingSettings(Struct, frozen=True):
    endpoint: Annotated[
        HttpUrl | None,
        Meta(description="Where traces go by OTLP, e.g. http://collector:4318; without it there are none"),
    ] = None
    traces_endpoint: Annotated[
        HttpUrl | None, Meta(description="The same with the whole path, e.g. …/v1/traces; goes before the other")
    ] = None
    protocol: Annotated[str, Meta(pattern="^http/protobuf$", description="How; there is only http/protobuf")] = (
        "http/protobuf"
    )
    service_name: Annotated[
        str | None, Meta(description="What we are called in traces; not set: gallery-api and gallery-worker")
    ] = None
    disabled: Annotated[bool, Meta(description="No traces, whatever the endpoint")] = False

    @property
    def url(self) -> str | None:
        """Where traces are posted to: https://opentelemetry.io/docs/specs/otel/protocol/exporter/."""
        if self.traces_endpoint or not self.endpoint:
            return self.traces_endpoint
        return f"{self.endpoint.rstrip('/')}/v1/traces"
