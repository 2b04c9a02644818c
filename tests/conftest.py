"""For all tests: a limit of time for each, and the promise that the run leaves no process behind."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings

#: Seconds that one test may take, its fixtures not counted. No test is meant to come near.
LIMIT = 60.0

settings.register_profile("svcmgr", deadline=None, print_blob=True)
settings.load_profile("svcmgr")


def pytest_configure() -> None:
    # Who starts the tests in the background of a script has them ignore it, and so would all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class TookTooLong(BaseException):
    """A test hangs. Not an Exception, so that nothing on the way swallows it."""


def _give_up(signum: int, frame: FrameType | None) -> None:
    faulthandler.dump_traceback(sys.__stderr__ or 2)
    raise TookTooLong(f"the test runs for more than {LIMIT:g} s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the run if processes that work below its temporary directory are left, or mounts; and ends them."""
    yield
    left = list(_working_below(tmp_path_factory.getbasetemp()))
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    mounts = list(_mounted_below(tmp_path_factory.getbasetemp()))
    for path in reversed(mounts):
        subprocess.run(["umount", "-l", path], check=False)
    assert left == [], "tests must end every process that they start"
    assert mounts == [], "tests must unmount what they mount"


def _mounted_below(directory: Path) -> Iterator[bytes]:
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        path = line.split(b" ")[4]
        if path.startswith(os.fsencode(directory) + b"/"):
            yield path


def _working_below(directory: Path) -> Iterator[tuple[int, str]]:
    """(pid, command line) of every process whose environment, arguments or working directory name ``directory``."""
    needle = os.fsencode(directory)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            words = command + (entry / "environ").read_bytes() + os.fsencode(os.readlink(entry / "cwd"))
        except OSError:
            continue  # gone meanwhile, or somebody else's
        if needle in words:
            yield int(entry.name), command.replace(b"\0", b" ").decode(errors="replace")
