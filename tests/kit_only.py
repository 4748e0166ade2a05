"""For tests of the clients that are long by nature: `make kit-test` runs them, `make test` does not."""

import os

import pytest

kit_only = pytest.mark.skipif("KIT" not in os.environ, reason="takes long: make kit-test runs it")
