"""The FUSE mounts of our daemons: making one, whether one is there, and how to take it away without touching it.

Who asks a FUSE mount anything may wait for its daemon, or get "transport endpoint is not connected" when that was
killed. So nothing here looks at the mounted path: the answer is in /proc/self/mountinfo (proc_pid_mountinfo(5)), and
umount2(2) with MNT_DETACH needs no answer of the daemon.

Mounts of others are never taken away: ours have the file system type ``fuse.svcmgr`` (or ``fuse``) and a source that
begins with ``svcmgr:``.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
from pathlib import Path

import attrs

from svcmgr.errors import NotPermitted, StorageFailed, Unsupported

SOURCE_PREFIX = "svcmgr:"
SUBTYPE = "svcmgr"
_OUR_TYPES = frozenset({"fuse", f"fuse.{SUBTYPE}"})

_MOUNTINFO = Path("/proc/self/mountinfo")
# mount(2)
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOATIME = 1, 2, 4, 1024
# umount2(2)
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
#: More mounts on one path are somebody's loop, not our predecessors.
_MOST_STACKED = 64


@attrs.frozen
class Mount:
    """One line of mountinfo. ``device`` is "major:minor", which names the mount below /sys/class/bdi."""

    path: Path
    fs_type: str
    source: str
    device: str

    @property
    def ours(self) -> bool:
        """Whether a daemon of ours made it."""
        return self.fs_type in _OUR_TYPES and self.source.startswith(SOURCE_PREFIX)


def mounted_at(path: Path) -> Mount | None:
    """The topmost mount on ``path`` itself, or None; the path is not touched, only its parents are resolved."""
    found = mounts_at(path)
    return found[-1] if found else None


def mounts_at(path: Path) -> list[Mount]:
    """All mounts on ``path`` itself, the topmost last."""
    wanted = _resolved(path)
    return [mount for mount in parse(_MOUNTINFO.read_bytes()) if mount.path == wanted]


def parse(text: bytes) -> list[Mount]:
    """The mounts in ``text``, the content of a mountinfo file, in its order; lines that are none are left out."""
    mounts = []
    for line in text.splitlines():
        left, dash, right = line.partition(b" - ")
        fields, described = left.split(b" "), right.split(b" ")
        if dash and len(fields) >= 6 and len(described) >= 2:
            names = (os.fsdecode(_unescape(field)) for field in (fields[4], *described[:2], fields[2]))
            path, *rest = names
            mounts.append(Mount(Path(path), *rest))
    return mounts


def mount_fuse(path: Path, source: str, max_read: int) -> int:
    """Mount a read-only FUSE file system on the directory ``path``; the descriptor that its requests come from.

    Non-blocking. The kernel checks permissions; no device and no set-user-id program works there. When root mounts it,
    everybody may look in, else only our own user. ``source`` is what the mount table will say: SOURCE_PREFIX and more.

    Raises:
        Unsupported: this host or sandbox has no FUSE for us.
        NotPermitted: the kernel or fusermount3 refused.
    """
    if os.geteuid() != 0:
        return _fusermount_mount(path, source, max_read)
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Unsupported(f"cannot mount on {path}: /dev/fuse: {error.strerror}; load the module fuse") from error
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read={max_read}"
    if number := _mount(source, path, _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOATIME, options):
        os.close(fd)
        raise NotPermitted(
            f"cannot mount on {path}: {os.strerror(number)} (errno {number}); root needs CAP_SYS_ADMIN for that",
            path=str(path),
            errno=number,
        )
    return fd


def _mount(source: str, path: Path, flags: int, options: str) -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
    what = os.fsencode(source), os.fsencode(path), f"fuse.{SUBTYPE}".encode()
    return 0 if libc.mount(*what, flags, options.encode()) == 0 else ctypes.get_errno()


def _fusermount_mount(path: Path, source: str, max_read: int) -> int:
    # It mounts, being set-user-id, and sends the descriptor over the socket whose number is in _FUSE_COMMFD
    # (libfuse: util/fusermount.c).
    program = shutil.which("fusermount3")
    if program is None:
        raise Unsupported(f"cannot mount on {path}: only root may, or fusermount3, which is not here; install fuse3")
    options = f"ro,nosuid,nodev,default_permissions,fsname={source},subtype={SUBTYPE},max_read={max_read}"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        environment = {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}
        pid = os.posix_spawn(program, [program, "-o", options, "--", os.fspath(path)], environment)
        theirs.close()
        _, received, _, _ = socket.recv_fds(ours, 1, 1)
    with contextlib.suppress(ChildProcessError):  # a reaper of this process was faster
        os.waitpid(pid, 0)
    if not received:
        raise NotPermitted(f"cannot mount on {path}: fusermount3 refused; the log of this process says why")
    os.set_inheritable(received[0], False)
    os.set_blocking(received[0], False)
    return received[0]


class TableWatch:
    """Tells of changes of the mount table: ``fileno()`` is readable after one, until :meth:`seen`."""

    def __init__(self) -> None:
        # The table is always "readable"; a change is an exceptional condition (proc_pid_mountinfo(5)), which an event
        # loop does not wait for. An epoll descriptor that waits for nothing else is readable just then.
        self._table = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._table, select.EPOLLPRI)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def seen(self) -> None:
        """Be unreadable until the next change."""
        self._epoll.poll(0)

    def close(self) -> None:
        """Idempotent."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._table)


def detach(path: Path) -> int:
    """Take away every mount of ours on ``path``, busy or not, one below the other; how many there were. Blocks shortly.

    Processes with files open there keep them until they close them; new ones see what is below.

    Raises:
        NotPermitted: the topmost mount is somebody else's, or we may not unmount.
        Unsupported: we are not root and there is no fusermount3 to do it.
        StorageFailed: the kernel refused for another reason.
    """
    for count in range(_MOST_STACKED):
        mount = mounted_at(path)
        if mount is None or (count and not mount.ours):
            return count
        if not mount.ours:
            raise NotPermitted(
                f"cannot unmount {path}: {mount.source} ({mount.fs_type}) is mounted there and is not ours; "
                "unmount it or choose another directory",
                path=str(path),
            )
        _unmount(mount.path)
    raise StorageFailed(f"cannot unmount {path}: more than {_MOST_STACKED} mounts are stacked there", path=str(path))


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path.parent)) / path.name


def _unescape(field: bytes) -> bytes:
    # Blank, tab, newline and backslash are written as three octal digits (proc_pid_mountinfo(5)).
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def _unmount(path: Path) -> None:
    if os.geteuid() == 0:
        _umount2(path)
    else:
        _fusermount(path)


def _umount2(path: Path) -> None:
    import ctypes  # imported here: most daemons never unmount

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
        number = ctypes.get_errno()
        refusal = NotPermitted if isinstance(OSError(number, ""), PermissionError) else StorageFailed
        raise refusal(f"cannot unmount {path}: {os.strerror(number)} (errno {number})", path=str(path), errno=number)


def _fusermount(path: Path) -> None:
    program = shutil.which("fusermount3")
    if program is None:
        raise Unsupported(f"cannot unmount {path}: only root may, or fusermount3, which is not here; install fuse3")
    before = mounted_at(path)
    pid = os.posix_spawn(program, [program, "-u", "-z", "--", os.fspath(path)], os.environ)
    with contextlib.suppress(ChildProcessError):  # a reaper of this process was faster; the table below tells
        os.waitpid(pid, 0)
    if before is not None and mounted_at(path) == before:
        raise NotPermitted(f"cannot unmount {path}: fusermount3 refused; unmount it as root", path=str(path))
