"""The promises of tests/conftest.py, kept in runs of pytest beside this one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture
def run_pytest(tmp_path):
    def run(test: str, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
        source = CONFTEST.read_text()
        assert "LIMIT = 60.0" in source
        (tmp_path / "conftest.py").write_text(source.replace("LIMIT = 60.0", f"LIMIT = {limit}"))
        (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
            str(tmp_path),
        ]
        command += ["--basetemp", str(tmp_path / "base")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    return run


def test_a_test_that_hangs_is_ended_and_the_next_one_runs(run_pytest):
    text = """
    import threading

    def test_hangs():
        try:
            threading.Event().wait()
        except Exception:
            pass

    def test_next():
        pass
    """
    run = run_pytest(text, limit=0.2)
    assert run.returncode == 1
    assert "1 failed, 1 passed" in run.stdout
    assert "TookTooLong" in run.stdout


@pytest.mark.parametrize("how", ["cwd=tmp_path", "env={'ROOT': str(tmp_path)}", ""])
def test_a_process_left_behind_is_ended_and_fails_the_run(run_pytest, tmp_path, how):
    text = f"""
    import pathlib, subprocess

    def test_leaves(tmp_path):
        command = ["/bin/sh", "-c", "read line < $0", tmp_path / "fifo"]
        subprocess.run(["mkfifo", tmp_path / "fifo"], check=True)
        child = subprocess.Popen(command, start_new_session=True, {how})
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
        child.returncode = 0
    """
    run = run_pytest(text)
    assert "1 passed, 1 error" in run.stdout
    assert "must end every process" in run.stdout
    stat = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    assert not stat.exists() or stat.read_text().rpartition(") ")[2][0] == "Z"


def test_a_mount_left_behind_is_taken_away_and_fails_the_run(run_pytest, tmp_path):
    text = """
    import subprocess

    def test_leaves(tmp_path):
        subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    """
    run = run_pytest(text)
    assert "1 passed, 1 error" in run.stdout
    assert "must unmount" in run.stdout
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
