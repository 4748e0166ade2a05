"""What other programs make of Gallery: generated clients, and apps of frameworks.

It takes minutes and installs packages, so it is not part of `make test`: `make kit-test` sets KIT.
"""

import os
from pathlib import Path

import pytest

TEST_TIMEOUT_SECONDS = 600  # for each test: some install and build an app

collect_ignore_glob = [] if "KIT" in os.environ else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_SECONDS))
