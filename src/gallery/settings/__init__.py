"""What an operator can set: one frozen tree, a branch per room, read from the environment in one pure step.

`Settings.read(os.environ)` reads nothing else and changes nothing. A value that does not fit raises `Misconfigured`
with the variable's name, the value and what was expected; an empty value counts as not set. Every setting has one
name, `GALLERY_<BRANCH>__<NAME>` (or `GALLERY_<NAME>` at the root), except those that carry the names which operators
know from elsewhere (`OTHER_NAMES`).
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
from gallery.settings.addresses import Network, Nodes, addresses, base_url, networks, origins, postgres, web_url
from gallery.settings.branches import (
    FINISH,
    S3,
    Access,
    Autoscale,
    Backup,
    Cache,
    Database,
    Datadog,
    Logs,
    Notifications,
    Objects,
    Rate,
    Redis,
    Serve,
    Tracing,
    Upload,
    Worker,
)

__all__ = [
    "FINISH",
    "OTHER_NAMES",
    "S3",
    "SECRETS",
    "Access",
    "Autoscale",
    "Backup",
    "Cache",
    "Database",
    "Datadog",
    "Entry",
    "Logs",
    "Network",
    "Nodes",
    "Notifications",
    "Objects",
    "Rate",
    "Redis",
    "Serve",
    "Settings",
    "Tracing",
    "Upload",
    "Worker",
    "addresses",
    "entries",
    "networks",
    "origins",
    "unknown",
]

OTHER_NAMES = {
    "port": "PORT",
    "cors_origin": "CORS_ORIGIN",
    "worker_mode": "WORKER_MODE",
    "database.url": "DATABASE_URL",
    "database.read_replica_url": "DATABASE_READ_REPLICA_URL",
    "redis.url": "REDIS_URL",
    "s3.endpoint": "S3_ENDPOINT",
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
    "backup.access_key",
    "backup.secret_key",
}


class Settings(Struct, frozen=True):
    """The whole tree."""

    host: Annotated[str, Meta(description="The address that the API listens on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port that the API listens on")] = 3000
    public_url: Annotated[
        str, Meta(description="The URL that clients see before our own paths, e.g. https://img.example.org/pictures")
    ] = ""
    proxies: Annotated[
        str, Meta(description="Proxies whose word on a client's address we take: addresses and networks, by commas")
    ] = ""
    cors_origin: Annotated[
        str, Meta(description="Origins whose pages may use the API: a comma list such as https://app.example.org, or *")
    ] = ""
    data_dir: Annotated[str, Meta(description="Where embedded servers and files live")] = "./data"
    worker_mode: Annotated[bool, Meta(description="This process is a worker, whatever its command")] = False
    fault: Annotated[
        str | None, Meta(description="For tests: where this process kills itself, e.g. upload-committed:3")
    ] = None
    database: Database = Database()
    redis: Redis = Redis()
    objects: Objects = Objects()
    s3: S3 = S3()
    upload: Upload = Upload()
    worker: Worker = Worker()
    autoscale: Autoscale = Autoscale()
    serve: Serve = Serve()
    rate: Rate = Rate()
    cache: Cache = Cache()
    notifications: Notifications = Notifications()
    access: Access = Access()
    backup: Backup = Backup()
    logs: Logs = Logs()
    datadog: Datadog = Datadog()
    tracing: Tracing = Tracing()

    @property
    def data(self) -> Path:
        return Path(self.data_dir).expanduser().resolve()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """The tree that `environment` describes. Raises `Misconfigured`."""
        given = {entry.path: environment[entry.variable] for entry in entries() if environment.get(entry.variable)}
        tree: dict[str, Any] = {}
        for entry in entries():
            if entry.path in given:
                branch = tree.setdefault(entry.branch, {}) if entry.branch else tree
                branch[entry.name] = entry.parse(given[entry.path])
        return msgspec.convert(tree, cls)

    def items(self) -> Iterator[tuple["Entry", Any]]:
        """Every setting with its value, secrets masked: what `gallery config` prints."""
        for entry in entries():
            holder = getattr(self, entry.branch) if entry.branch else self
            value = getattr(holder, entry.name)
            yield entry, entry.shown(value) if isinstance(value, str) else value


class Entry(Struct, frozen=True):
    """One setting: where it stands in the tree, its variable, its type and what it means."""

    branch: str
    name: str
    type: Any
    default: Any

    @property
    def path(self) -> str:
        return f"{self.branch}.{self.name}" if self.branch else self.name

    @property
    def variable(self) -> str:
        return OTHER_NAMES.get(self.path) or "GALLERY_" + self.path.upper().replace(".", "__")

    @property
    def description(self) -> str:
        return next((m.description for m in _metadata(self.type) if m.description), "")

    def parse(self, text: str) -> Any:
        try:
            value = msgspec.convert(text, self.type, strict=False)
            if self.path in NORMALIZED_BY:
                value = NORMALIZED_BY[self.path](value)
            if self.path in READ_BY:
                READ_BY[self.path](value)
        except ValueError as error:  # msgspec's are ValueErrors too
            expected = str(error).split(" - at")[0].replace("`", "")
            raise Misconfigured(f"{self.variable} is {self.shown(text)!r}: {expected}.") from None
        return value

    def shown(self, text: str) -> str:
        """The value as it may be printed."""
        return MASK if text and self.path in SECRETS else masked_url(text)


def entries() -> Iterator[Entry]:
    """Every setting there is, in the order of the tree."""
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.default, Struct):
            branch = type(field.default)
            hints = get_type_hints(branch, include_extras=True)
            for leaf in msgspec.structs.fields(branch):
                yield Entry(field.name, leaf.name, hints[leaf.name], leaf.default)
        else:
            yield Entry("", field.name, field.type, field.default)


def unknown(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like settings of ours and are none, each with the nearest real name (or an empty string)."""
    known = [entry.variable for entry in entries()]
    strangers = [name for name in environment if name.startswith("GALLERY_") and name not in known]
    return {name: next(iter(difflib.get_close_matches(name, known, n=1)), "") for name in strangers}


READ_BY: dict[str, Callable[[str], object]] = {  # what a type cannot say
    "proxies": networks,
    "cors_origin": origins,
    "fault": failpoints.read,
    "database.url": postgres,
    "database.direct_url": postgres,
    "database.read_replica_url": addresses,
    "redis.url": Nodes.read,
    "cache.url": Nodes.read,
}
NORMALIZED_BY: dict[str, Callable[[str], str]] = {  # how URLs are written, and how we go on with them
    "public_url": base_url,
    "s3.endpoint": base_url,
    "backup.endpoint": base_url,
    "access.jwks_url": web_url,
    "tracing.endpoint": base_url,
    "tracing.traces_endpoint": web_url,
}


def _metadata(annotated: Any) -> tuple[Meta, ...]:
    return tuple(m for m in getattr(annotated, "__metadata__", ()) if isinstance(m, Meta))
