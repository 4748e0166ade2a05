"""The image's HEALTHCHECK: exits with 0 when /livez answers in this container, else with 1 and a sentence.

An API answers /livez on PORT, a worker on GALLERY_WORKER__METRICS_PORT. A worker without this port always passes: its
orchestrator watches the process.
"""

import os
import sys
import urllib.request

TIMEOUT_SECONDS = 4


def main() -> int:
    if os.environ.get("WORKER_MODE", "").lower() == "true":
        port = os.environ.get("GALLERY_WORKER__METRICS_PORT", "0")
    else:
        port = os.environ.get("PORT") or "3000"
    if port == "0":
        return 0
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/livez", timeout=TIMEOUT_SECONDS
        ):  # an error status raises
            return 0
    except OSError as error:  # URLError is one
        print(f"/livez on port {port}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
