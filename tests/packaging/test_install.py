"""An install shows its progress, and has pip's exit code."""

import asyncio
import subprocess
import sys
from pathlib import Path

import check_wheels
import install_locked

PROGRAM = Path(install_locked.__file__)


async def test_progress_is_shown_while_pip_is_silent(capsys, monkeypatch):
    monkeypatch.setattr(install_locked, "DOT_INTERVAL_SECONDS", 0.05)
    output = asyncio.StreamReader()
    asyncio.get_running_loop().call_later(0.3, output.feed_data, b"Successfully installed h11-0.16.0\n")
    assert await install_locked.read_line_with_dots(output) == b"Successfully installed h11-0.16.0\n"
    assert 2 <= capsys.readouterr().out.count(".") <= 6


def test_each_package_has_a_short_line(capsys):
    for line in [
        "Collecting h11==0.16.0 (from -r requirements.lock (line 7))\n",
        "  Downloading h11-0.16.0-py3-none-any.whl (37 kB)\n",
        "Requirement already satisfied: idna==3.20 in ./.venv\n",
        "Installing collected packages: h11, idna\n",
        "Successfully installed h11-0.16.0 idna-3.20\n",
    ]:
        install_locked.show(line)
    assert capsys.readouterr().out == "  Collecting h11==0.16.0\n  Unpacking 2 packages  done\n"


def test_the_exit_code_is_pips(tmp_path):
    lock = tmp_path / "some.lock"
    text = (check_wheels.ROOT / "requirements.lock").read_text()
    lock.write_text(next(pin[0] for pin in check_wheels.PIN_PATTERN.finditer(text) if pin["name"] == "h11"))
    assert installed(lock).returncode == 0
    lock.write_text(f"h11==0.0.0 --hash=sha256:{64 * '0'}\n")
    refused = installed(lock)
    assert refused.returncode == 1
    assert "No matching distribution found for h11==0.0.0" in refused.stderr


def installed(lock: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, lock], capture_output=True, text=True, check=False)
