"""The README's examples are true: the subclass runs under a real svcmgrd."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def example() -> str:
    """The Python block of the README."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def test_a_new_daemon_takes_at_most_fifteen_lines():
    assert len([line for line in example().splitlines() if line.strip()]) <= 15


def test_the_subclass_runs(tmp_path):
    (tmp_path / "clock.py").write_text(example())
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    env.pop("SVCMGR_ROOT", None)

    def svcmgr(*args: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "svcmgr.cli", "--root", str(tmp_path / "root"), *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    svcmgr("up")
    try:
        assert "added" in svcmgr("add", "clock", "--kind", "clock:ClockService")
        assert "started" in svcmgr("start", "clock")
        assert '"online"' in svcmgr("status", "--json", "clock")
        pid = int(re.search(r'"pid": (\d+)', svcmgr("show", "--json", "clock"))[1])
        os.kill(pid, signal.SIGKILL)
        said = svcmgr("start", "clock")
        assert f"pid {pid}" not in said
        assert "started" in said or "already running" in said
        svcmgr("stop", "clock")
        svcmgr("status", "clock", code=3)
    finally:
        svcmgr("shutdown", "--all")
