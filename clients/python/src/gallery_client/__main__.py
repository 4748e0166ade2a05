"""`python -m gallery_client` is `gallery-client`."""

import sys

from gallery_client.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
