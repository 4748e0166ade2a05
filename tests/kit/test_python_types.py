"""The types of the published Python client are complete: pyright finds one for each public name."""

import json
import os
import re
import sys
import sysconfig
from pathlib import Path

from kit.packages import install_npm, run

ROOT = Path(__file__).resolve().parents[2]


async def test_each_public_name_of_the_wheel_has_a_type(tmp_path):
    """With the client's wheel in a new environment, and the packages that it needs from this one."""
    modules = await install_npm(Path(__file__).parent / "generators")
    build = ("--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path, ROOT / "clients" / "python")
    await run(sys.executable, "-m", "pip", "wheel", *build)
    [wheel] = tmp_path.glob("*.whl")
    await run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    await run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    [packages] = (tmp_path / "venv" / "lib").glob("*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"venvPath": str(tmp_path), "venv": "venv"}))
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    pyright = ("node", modules / "pyright" / "index.js", "--verifytypes", "gallery_client", "--ignoreexternal")
    report = await run(*pyright, cwd=tmp_path, PATH=path)
    assert "Type completeness score: 100%" in report
    assert int(re.search(r"Symbols exported by \"gallery_client\": (\d+)", report)[1]) > 50
