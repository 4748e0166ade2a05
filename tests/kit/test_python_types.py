"""The types of the published Python client are complete: pyright finds one for each public name."""

import json
import os
import re
from pathlib import Path

from kit.packages import install_npm, install_python_client, run


async def test_each_public_name_of_the_wheel_has_a_type(tmp_path):
    """With the client's wheel in a new environment, and the packages that it needs from this one."""
    modules = await install_npm(Path(__file__).parent / "generators")
    python = await install_python_client(tmp_path) / "bin" / "python"
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"venvPath": str(tmp_path), "venv": "venv"}))
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    pyright = ("node", modules / "pyright" / "index.js", "--verifytypes", "gallery_client", "--ignoreexternal")
    report = await run(*pyright, cwd=tmp_path, PATH=path)
    assert "Type completeness score: 100%" in report
    assert int(re.search(r"Symbols exported by \"gallery_client\": (\d+)", report)[1]) > 50
