"""Control groups of this host, where it lets us have some; else that we say so."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from svcmgr.errors import SvcmgrError
from svcmgr.proc.cgroup import Group, find_base, leftovers, service_path

#: A parent, a child that ignores TERM, and one that left the session and the process group.
FAMILY = "trap '' TERM; sleep 1000 & setsid sleep 1000 & echo ready; wait"


def writable_place() -> Path | None:
    """Found in another way than the code does: try where hosts have it."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), "")
    for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        place = Path(mount + own)
        members = place / "cgroup.procs"
        if members.exists() and os.access(place, os.W_OK) and os.access(members, os.W_OK):
            return place
    return None


def eventually(condition: object, within: float = 5.0) -> None:
    end = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.001)


def test_a_base_is_found_exactly_where_one_can_be_made(tmp_path: Path) -> None:
    base, place = find_base(tmp_path), writable_place()
    if base is None:
        assert place is None or not makes_groups(place), f"{place} could have been used"
        return
    try:
        assert place is not None
        assert base.parent.samefile(place)
        assert (base / "cgroup.kill").exists()
    finally:
        base.rmdir()


def makes_groups(place: Path) -> bool:
    trial = place / f"trial-{os.getpid()}"
    try:
        trial.mkdir()
    except OSError:
        return False
    usable = (trial / "cgroup.kill").exists()
    trial.rmdir()
    return usable


def test_a_whole_family_ends_at_once_and_the_group_goes(tmp_path: Path) -> None:
    base = find_base(tmp_path)
    if base is None:
        # No control groups here: then using one anyway must be refused in our own words.
        place = Path("/sys/fs/cgroup") / f"svcmgr-none-{os.getpid()}"
        with pytest.raises(SvcmgrError, match=r"^cannot move pid"):
            Group(place).attach(os.getpid())
        return
    group = Group(service_path(base, "web@1"))
    process = subprocess.Popen(["sh", "-c", f"read go; {FAMILY}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        group.attach(process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        eventually(lambda: len(group.pids()) == 3)
        assert group.populated()
        assert [found.path for found in leftovers(base)] == [group.path]
        family = group.pids()
        assert process.pid in family
        group.kill()
        assert process.wait(5) == -9
        eventually(lambda: not group.populated())
        assert group.pids() == []
        group.attach(process.pid)  # it has ended: no error
        group.remove()
        group.remove()
        assert not group.path.exists()
    finally:
        group.kill()
        process.communicate()
        eventually(lambda: not group.populated())
        group.remove()
        base.rmdir()


def test_groups_that_a_service_made_inside_its_own_go_too(tmp_path: Path) -> None:
    base = find_base(tmp_path)
    if base is None:
        assert writable_place() is None or not makes_groups(writable_place() or tmp_path)
        return
    group, inner = Group(service_path(base, "db")), Group(service_path(base, "db") / "worker" / "one")
    inner.create()
    process = subprocess.Popen(["sleep", "1000"])
    try:
        inner.attach(process.pid)
        assert group.pids() == [process.pid]
        group.kill()
        assert process.wait(5) == -9
        eventually(lambda: not group.populated())
    finally:
        process.kill()
        process.wait()
        group.remove()
        base.rmdir()
