"""Control groups (cgroup v2) as the fence around a service: who belongs to it, and how to end all of it at once.

Below the group that svcmgrd itself lives in, one group ``svcmgr-HASH`` per run directory holds one group per
service. A service cannot leave its group by forking, by a new session or by a new process group, so
``cgroup.kill`` reaches what a signal to a session does not. Resource controllers are not needed for that and are
not touched; hence the rule against processes in inner groups does not bite (cgroups(7)).

The interface is that of the kernel's Documentation/admin-guide/cgroup-v2.rst; ``cgroup.kill`` needs Linux 5.14.
On hosts where no cgroup v2 is writable, :func:`find_base` says None and services are ended by session instead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from svcmgr.errors import NotPermitted, StorageFailed, SvcmgrError

_MOUNTS = Path("/proc/self/mountinfo")
_MEMBERSHIP = Path("/proc/self/cgroup")


class Group:
    """The control group at one directory. Creating the object touches nothing.

    Every method raises StorageFailed or NotPermitted when the kernel refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Group({str(self.path)!r})"

    def create(self) -> None:
        """Make the group and its parents; idempotent."""
        with _saying(f"create control group {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)

    def attach(self, pid: int) -> None:
        """Move a process into the group, which is made if it is not there. One that has ended is no error.

        Children that it forked before stay where they are.
        """
        with _saying(f"move pid {pid} into control group {self.path}"), _unless(errno.ESRCH):
            try:
                _write(self.path / "cgroup.procs", str(pid))
            except FileNotFoundError:
                self.path.mkdir(parents=True, exist_ok=True)
                _write(self.path / "cgroup.procs", str(pid))

    def kill(self) -> None:
        """SIGKILL to everything in the group and in groups below it, atomic against fork; no group, no error."""
        with _saying(f"kill control group {self.path}"), _unless(errno.ENOENT, errno.ENODEV):
            _write(self.path / "cgroup.kill", "1")

    def populated(self) -> bool:
        """Whether a process lives in the group or below it; zombies do not count."""
        with _saying(f"read control group {self.path}"), _unless(errno.ENOENT, errno.ENODEV):
            return "populated 1" in (self.path / "cgroup.events").read_text().splitlines()
        return False

    def pids(self) -> list[int]:
        """Who lives in the group and below it now."""
        with _saying(f"read control group {self.path}"):
            return [pid for group in _with_descendants(self.path) for pid in _members(group)]

    def remove(self) -> None:
        """Remove the group and empty groups below it; does nothing when it is gone."""
        with _saying(f"remove control group {self.path}"):
            for group in reversed(list(_with_descendants(self.path))):
                with _unless(errno.ENOENT):
                    group.rmdir()


def find_base(run: Path, mounts: Path = _MOUNTS, membership: Path = _MEMBERSHIP) -> Path | None:
    """The directory for the groups of the svcmgrd whose run directory is ``run``, made if needed.

    None when there is no cgroup v2, when its part of the tree is not ours to write, or when the kernel lacks
    ``cgroup.kill``. ``mounts`` and ``membership`` are proc_pid_mountinfo(5) and the file of cgroups(7).
    """
    for place in _places(mounts, membership):
        if not os.access(place / "cgroup.procs", os.W_OK) or not os.access(place, os.W_OK | os.X_OK):
            continue
        base = place / f"svcmgr-{hashlib.sha256(os.fsencode(run)).hexdigest()[:12]}"
        with contextlib.suppress(OSError):
            base.mkdir(exist_ok=True)
            if (base / "cgroup.kill").exists():
                return base
            base.rmdir()
    return None


def service_path(base: Path, key: str) -> Path:
    """The group of service ``key``. The prefix keeps a service called ``memory.max`` off the kernel's own names."""
    return base / f"svc-{key}"


def leftovers(base: Path) -> Iterator[Group]:
    """Groups of services that exist below ``base``, for example those of an earlier svcmgrd."""
    with contextlib.suppress(FileNotFoundError):
        yield from (Group(path) for path in sorted(base.iterdir()) if path.is_dir() and path.name.startswith("svc-"))


def _places(mounts: Path, membership: Path) -> Iterator[Path]:
    """Where our own group is seen, once per mount of the cgroup v2 tree."""
    own = _own_group(membership)
    if own is None:
        return
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.split()[:1] != ["cgroup2"] or len(fields) < 5:
            continue
        root, point = _unescape(fields[3]), Path(_unescape(fields[4]))
        relative = os.path.relpath(own, root)
        if not relative.startswith(".."):
            yield point / relative


def _own_group(membership: Path) -> str | None:
    """The path behind ``0::``, which is the v2 line also on a hybrid host."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    found = [line.removeprefix("0::") for line in lines if line.startswith("0::/")]
    # "/.." is above our cgroup namespace: not ours.
    return found[0] if found and not found[0].startswith("/..") else None


def _unescape(field: str) -> str:
    """Space, tab, newline and backslash are octal in mountinfo (proc_pid_mountinfo(5))."""
    for octal, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(octal, char)
    return field


def _with_descendants(path: Path) -> Iterator[Path]:
    """``path`` and the groups below it, parents first; nothing when it is not there."""
    try:
        below = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return
        raise
    yield path
    for child in below:
        yield from _with_descendants(Path(child))


def _members(group: Path) -> list[int]:
    with _unless(errno.ENOENT, errno.ENODEV):
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    return []


def _write(path: Path, text: str) -> None:
    # One write(2), no O_CREAT: these are switches, not files.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@contextlib.contextmanager
def _unless(*numbers: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind: type[SvcmgrError] = NotPermitted if isinstance(error, PermissionError) else StorageFailed
        raise kind(f"cannot {what}: {error.strerror} (errno {error.errno})", errno=error.errno) from error
