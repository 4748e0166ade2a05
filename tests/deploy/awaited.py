"""What deploy/ names and other changes bring: the workers' own port, Datadog, dashboard, rules and Bull Board.

Empty these when all of it is there.
"""

VARIABLES = {"GALLERY_WORKER__METRICS_PORT", "DD_AGENT_HOST"}
FILES = {"deploy/prometheus", "deploy/grafana/gallery.json", "deploy/bull-board"}
