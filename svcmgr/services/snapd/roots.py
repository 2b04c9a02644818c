"""Opening the content of a snapshot, where users may have put something else in its place.

A brick belongs to users, and its owner can rename even what is not his. So the way from the brick down to a snapshot is
walked step by step: no symlink is followed, and what is called ``.svcmgr`` must be ours and closed to others, or what
lies in it is not shown. A content directory that lies elsewhere was chosen by whoever configured it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from svcmgr.proc.beneath import open_frozen
from svcmgr.services.snapd.reserve import SNAPSHOTS
from svcmgr.services.snapd.walk import open_dir
from svcmgr.volume.snapshot import RESERVED_DIR


def open_root(root: str | os.PathLike[str]) -> int:
    """A descriptor of the content directory ``root``, through which nothing changes. The caller closes it.

    Raises:
        OSError: as open(2) does; EPERM where a directory on the way from the brick is not ours alone.
    """
    path = Path(root)
    if path.parts[-3:-1] != (RESERVED_DIR, SNAPSHOTS):
        return open_frozen(path)
    brick = os.open(path.parents[2], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        reserved = _ours(RESERVED_DIR, brick)
    finally:
        os.close(brick)
    try:
        snapshots = _ours(SNAPSHOTS, reserved)
    finally:
        os.close(reserved)
    try:
        return open_frozen(path.name, snapshots)
    finally:
        os.close(snapshots)


def _ours(name: str, parent: int) -> int:
    fd = open_dir(name, parent)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(fd)
        raise PermissionError(errno.EPERM, f"{name} is not snapd's own directory any more")
    return fd
