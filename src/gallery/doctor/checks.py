"""All checks, in the order of the output."""

from gallery.doctor import machine, postgres, replicas, rows, store, uploads, valkey
from gallery.doctor.model import Check
from gallery.doctor.workers import workers

CHECKS = (
    Check("machine", "data-directory", machine.data_directory),
    Check("machine", "settings", machine.settings),
    Check("machine", "memory", machine.memory),
    Check("machine", "disk", machine.disk),
    Check("machine", "shared-memory", machine.shared_memory),
    Check("machine", "limits", machine.limits),
    Check("machine", "renderers", machine.renderers, timeout_seconds=15),
    Check("machine", "processes", machine.processes),
    Check("database", "postgresql", postgres.postgresql),
    Check("database", "migrations", postgres.migrations, needs=("postgresql",)),
    Check("database", "database-clock", postgres.clock, needs=("postgresql",)),
    Check("database", "connections", postgres.connections, needs=("postgresql",)),
    Check("database", "slow-queries", postgres.slow_queries, needs=("postgresql",)),
    Check("database", "replicas", replicas.replicas, needs=("migrations",), timeout_seconds=20),
    Check("database", "workers", workers, needs=("migrations",)),
    Check("database", "stuck-images", rows.stuck_images, needs=("migrations",)),
    Check("database", "failed-images", rows.failed_images, needs=("migrations",)),
    Check("database", "backups", rows.backups, needs=("migrations",)),
    Check("valkey", "valkey", valkey.valkey),
    Check("valkey", "eviction", valkey.eviction, needs=("valkey",)),
    Check("valkey", "persistence", valkey.persistence, needs=("valkey",)),
    Check("valkey", "cache", valkey.cache, needs=("valkey",)),
    Check("valkey", "hit-rate", valkey.hit_rate, needs=("cache",)),
    Check("valkey", "queue", valkey.queue, needs=("valkey",)),
    Check("objects", "store", store.store, timeout_seconds=15),
    Check("objects", "ownership", store.ownership, needs=("store", "migrations")),
    Check("objects", "permissions", store.permissions, needs=("store",), timeout_seconds=20),
    Check("objects", "parts", uploads.parts, needs=("permissions",), timeout_seconds=20),
    Check("objects", "browser-uploads", uploads.browsers, needs=("parts",), timeout_seconds=20),
    Check("objects", "store-clock", store.clock),
)
