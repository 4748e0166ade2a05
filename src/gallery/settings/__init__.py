"""The settings: one frozen tree with a branch for each package, read from the environment in one pure step.

`Settings.read(os.environ)` reads nothing else and changes nothing. An invalid value raises `Misconfigured` with the
variable, the value and the expected form; an empty value counts as not set. A setting's variable is
`GALLERY_<BRANCH>__<NAME>` (or `GALLERY_<NAME>` at the root), or a name that other software uses too (`VARIABLE_NAMES`).
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_type_hints

import msgspec
from msgspec import Meta, Struct

from gallery import failpoints
from gallery.errors import Misconfigured
from gallery.masking import MASK, masked_url
from gallery.settings.addresses import (
    Network,
    ValkeyNodes,
    check_postgres_url,
    parse_base_url,
    parse_networks,
    parse_origins,
    parse_postgres_urls,
    parse_web_url,
)
from gallery.settings.branches import (
    STOP_TIMEOUT_SECONDS,
    AccessSettings,
    AutoscaleSettings,
    BackupSettings,
    CacheSettings,
    DatabaseSettings,
    DatadogSettings,
    LogsSettings,
    NotificationsSettings,
    ObjectsSettings,
    RateSettings,
    RedisSettings,
    S3Settings,
    ServeSettings,
    TracingSettings,
    UploadSettings,
    WorkerSettings,
)
from gallery.settings.pictures import (
    PRESETS_PREFIX,
    PicturesSettings,
    RenditionsSettings,
    check_preset_name,
    find_presets,
    parse_picture_formats,
    parse_rendition_formats,
    parse_widths,
)

__all__ = [
    "SECRETS",
    "STOP_TIMEOUT_SECONDS",
    "VARIABLE_NAMES",
    "AccessSettings",
    "AutoscaleSettings",
    "BackupSettings",
    "CacheSettings",
    "DatabaseSettings",
    "DatadogSettings",
    "LogsSettings",
    "Network",
    "NotificationsSettings",
    "ObjectsSettings",
    "PicturesSettings",
    "RateSettings",
    "RedisSettings",
    "RenditionsSettings",
    "S3Settings",
    "ServeSettings",
    "Setting",
    "Settings",
    "TracingSettings",
    "UploadSettings",
    "ValkeyNodes",
    "WorkerSettings",
    "all_settings",
    "find_unknown_variables",
    "parse_networks",
    "parse_origins",
    "parse_picture_formats",
    "parse_postgres_urls",
    "parse_rendition_formats",
    "parse_widths",
]

OPEN_NAME = "<NAME>"
VARIABLE_NAMES = {
    "port": "PORT",
    "cors_origin": "CORS_ORIGIN",
    "worker_mode": "WORKER_MODE",
    "database.url": "DATABASE_URL",
    "database.read_replica_url": "DATABASE_READ_REPLICA_URL",
    "redis.url": "REDIS_URL",
    "s3.endpoint": "S3_ENDPOINT",
    "s3.public_endpoint": "S3_PUBLIC_ENDPOINT",
    "s3.bucket": "S3_BUCKET",
    "s3.access_key": "S3_ACCESS_KEY",
    "s3.secret_key": "S3_SECRET_KEY",
    "s3.region": "S3_REGION",
    "datadog.agent_host": "DD_AGENT_HOST",
    "datadog.port": "DD_DOGSTATSD_PORT",
    "tracing.endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "tracing.traces_endpoint": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "tracing.protocol": "OTEL_EXPORTER_OTLP_PROTOCOL",
    "tracing.service_name": "OTEL_SERVICE_NAME",
    "tracing.disabled": "OTEL_SDK_DISABLED",
}
SECRETS = {
    "database.url",
    "database.read_replica_url",
    "database.direct_url",
    "redis.url",
    "cache.url",
    "s3.access_key",
    "s3.secret_key",
    "access.jwt_secret",
    "access.signing_keys",
    "access.link_keys",
    "backup.access_key",
    "backup.secret_key",
}


class Settings(Struct, frozen=True):
    """The root of the tree."""

    host: Annotated[str, Meta(description="The address that the API listens on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port that the API listens on")] = 3000
    public_url: Annotated[
        str, Meta(description="The public base URL of Gallery, e.g. https://img.example.org/pictures")
    ] = ""
    proxies: Annotated[
        str, Meta(description="Proxies trusted to name the client's address: addresses and networks, with commas")
    ] = ""
    cors_origin: Annotated[
        str, Meta(description="Origins whose pages may use the API, with commas, e.g. https://app.example.org; or *")
    ] = ""
    data_dir: Annotated[str, Meta(description="The directory of embedded servers and files")] = "./data"
    worker_mode: Annotated[bool, Meta(description="Run this process as a worker, for any command")] = False
    fault: Annotated[
        str | None, Meta(description="For tests: the failpoint at which this process dies, e.g. upload-committed:3")
    ] = None
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    objects: ObjectsSettings = ObjectsSettings()
    s3: S3Settings = S3Settings()
    upload: UploadSettings = UploadSettings()
    renditions: RenditionsSettings = RenditionsSettings()
    pictures: PicturesSettings = PicturesSettings()
    presets: Annotated[
        dict[str, str],
        Meta(description="A preset of pictures on demand, named in lower case, e.g. `w=96&h=96&fit=cover`"),
    ] = {}
    worker: WorkerSettings = WorkerSettings()
    autoscale: AutoscaleSettings = AutoscaleSettings()
    serve: ServeSettings = ServeSettings()
    rate: RateSettings = RateSettings()
    cache: CacheSettings = CacheSettings()
    notifications: NotificationsSettings = NotificationsSettings()
    access: AccessSettings = AccessSettings()
    backup: BackupSettings = BackupSettings()
    logs: LogsSettings = LogsSettings()
    datadog: DatadogSettings = DatadogSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser().resolve()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """The tree that `environment` describes. Raises `Misconfigured`."""
        tree: dict[str, Any] = {"presets": _read_presets(environment)}
        for entry in all_settings():
            if (text := environment.get(entry.variable)) and not entry.open_ended:
                branch = tree.setdefault(entry.branch, {}) if entry.branch else tree
                branch[entry.name] = entry.parse(text)
        return msgspec.convert(tree, cls)

    def items(self) -> Iterator[tuple["Setting", Any]]:
        """Every setting with its value, secrets masked, as `gallery config` prints them."""
        for entry in all_settings():
            if entry.open_ended:
                for name, text in self.presets.items():
                    yield msgspec.structs.replace(entry, name=name), entry.masked(text)
                continue
            holder = getattr(self, entry.branch) if entry.branch else self
            value = getattr(holder, entry.name)
            yield entry, entry.masked(value) if isinstance(value, str) else value


class Setting(Struct, frozen=True):
    """One setting: its branch and name in the tree, its type and its default.

    A branch whose names are open has one entry, with `OPEN_NAME` as its name.
    """

    branch: str
    name: str
    type: Any
    default: Any

    @property
    def open_ended(self) -> bool:
        return self.name == OPEN_NAME

    @property
    def path(self) -> str:
        return f"{self.branch}.{self.name}" if self.branch else self.name

    @property
    def variable(self) -> str:
        return VARIABLE_NAMES.get(self.path) or "GALLERY_" + self.path.upper().replace(".", "__")

    @property
    def description(self) -> str:
        return next((m.description for m in _metadata(self.type) if m.description), "")

    def parse(self, text: str) -> Any:
        try:
            value = msgspec.convert(text, self.type, strict=False)
            if self.path in NORMALIZERS:
                value = NORMALIZERS[self.path](value)
            if self.path in VALIDATORS:
                VALIDATORS[self.path](value)
        except ValueError as error:  # msgspec's are ValueErrors too
            expected = str(error).split(" - at")[0].replace("`", "")
            raise Misconfigured(f"{self.variable} is {self.masked(text)!r}: {expected}.") from None
        return value

    def masked(self, text: str) -> str:
        """The value in a form that may be printed."""
        return MASK if text and self.path in SECRETS else masked_url(text)


def all_settings() -> Iterator[Setting]:
    """Every setting, in the order of the tree."""
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.default, Struct):
            branch = type(field.default)
            hints = get_type_hints(branch, include_extras=True)
            for leaf in msgspec.structs.fields(branch):
                yield Setting(field.name, leaf.name, hints[leaf.name], leaf.default)
        elif field.default is msgspec.NODEFAULT:
            yield Setting(field.name, OPEN_NAME, field.type, None)
        else:
            yield Setting("", field.name, field.type, field.default)


CLIENT_VARIABLES = ("GALLERY_URL", "GALLERY_TOKEN", "GALLERY_LINK_KEY")


def find_unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """`GALLERY_` variables that are no setting, each with the nearest real name (or an empty string).

    Those of the client (`gallery upload`) may be set for the server, too: a shell has them for both.
    """
    known = [*(entry.variable for entry in all_settings()), *CLIENT_VARIABLES]
    ours = [name for name in environment if name.startswith("GALLERY_") and not name.startswith(PRESETS_PREFIX)]
    unknown = [name for name in ours if name not in known]
    return {name: next(iter(difflib.get_close_matches(name, known, n=1)), "") for name in unknown}


def _read_presets(environment: Mapping[str, str]) -> dict[str, str]:
    presets: dict[str, str] = {}
    for variable, name, text in find_presets(environment):
        try:
            check_preset_name(name, taken=presets)
        except ValueError as error:
            raise Misconfigured(f"{variable} is {masked_url(text)!r}: {error}.") from None
        presets[name] = text
    return presets


VALIDATORS: dict[str, Callable[[str], object]] = {  # checks beyond the type
    "proxies": parse_networks,
    "cors_origin": parse_origins,
    "fault": failpoints.parse,
    "renditions.widths": parse_widths,
    "renditions.formats": parse_rendition_formats,
    "pictures.formats": parse_picture_formats,
    "database.url": check_postgres_url,
    "database.direct_url": check_postgres_url,
    "database.read_replica_url": parse_postgres_urls,
    "redis.url": ValkeyNodes.parse,
    "cache.url": ValkeyNodes.parse,
}
NORMALIZERS: dict[str, Callable[[str], str]] = {  # return the form of a URL that the code uses
    "public_url": parse_base_url,
    "s3.endpoint": parse_base_url,
    "s3.public_endpoint": parse_base_url,
    "backup.endpoint": parse_base_url,
    "access.jwks_url": parse_web_url,
    "tracing.endpoint": parse_base_url,
    "tracing.traces_endpoint": parse_web_url,
}


def _metadata(annotated: Any) -> tuple[Meta, ...]:
    return tuple(m for m in getattr(annotated, "__metadata__", ()) if isinstance(m, Meta))
