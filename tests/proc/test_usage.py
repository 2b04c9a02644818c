"""Sums over processes: of those that live, and of what may be seen."""

import os
import subprocess
import sys

import psutil
import pytest

from svcmgr.proc.usage import tree_usage


def test_our_own_process() -> None:
    usage = tree_usage([os.getpid()])
    assert usage is not None
    assert usage["processes"] == 1
    assert usage["threads"] >= 1
    # Each of the two lists the directory of this very process and so sees its own descriptor for that.
    assert usage["fds"] == len(os.listdir("/proc/self/fd"))
    assert usage["cpu_seconds"] > 0
    assert usage["rss_bytes"] >= usage["pss_bytes"] > 1 << 20


def test_sums_over_the_tree_and_without_those_that_ended() -> None:
    children = [subprocess.Popen(["sleep", "100"]) for _ in range(2)]
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    try:
        one = tree_usage([children[0].pid])
        both = tree_usage([child.pid for child in children] + [zombie.pid])
        assert one is not None
        assert both is not None
        assert both["processes"] == both["threads"] == 2
        assert both["fds"] == 2 * one["fds"]
        assert both["rss_bytes"] > one["rss_bytes"]
        assert tree_usage([zombie.pid]) is None
    finally:
        for child in [*children, zombie]:
            child.kill()
            child.wait()
    assert tree_usage([child.pid for child in children]) is None
    assert tree_usage([]) is None


def test_a_part_that_may_not_be_seen_makes_the_sum_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: psutil.Process) -> int:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "num_fds", refuse)
    usage = tree_usage([os.getpid()])
    assert usage is not None
    assert (usage["fds"], usage["pss_bytes"]) == (None, None)
    assert usage["rss_bytes"] > 0


def test_psutil_is_loaded_only_when_asked() -> None:
    program = "import sys, svcmgr.proc.usage; print('psutil' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
