"""The main operations keep their price, in CPU of bare answers: bench/ratios.json has the committed ones."""

import shutil
from pathlib import Path

import pytest
from bench import ratios


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.timeout(300)
async def test_no_operation_costs_half_as_much_again(tmp_path: Path) -> None:
    """Only a ratio of CPU counts, of up to eight rounds the lowest: other work on the machine does not matter.

    After a change that makes an operation cheaper, write the new ratios: `python -m bench.ratios --write`.
    """
    assert ratios.grown(await ratios.measure(tmp_path)) == {}
