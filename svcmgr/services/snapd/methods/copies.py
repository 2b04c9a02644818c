"""Snapshots file by file: sharing blocks with the volume, or with blocks of their own."""

from __future__ import annotations

import os

import attrs

from svcmgr.errors import StorageFailed
from svcmgr.proc.linux import sync_filesystem
from svcmgr.services.snapd import filedata
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.reserve import Brick
from svcmgr.services.snapd.treecopy import Mover, TreeCopy
from svcmgr.services.snapd.walk import open_dir


@attrs.frozen
class Reflink:
    """For file systems whose files can share blocks: xfs, btrfs, bcachefs, ocfs2. Each file is one moment."""

    name: str = "reflink"
    consistency: str = "per-file"

    def refusal(self, brick: Brick) -> str:
        try:
            return "" if filedata.can_share(brick.reserved) else "its file system cannot share blocks between files"
        except OSError as error:
            return f"a trial failed: {error.strerror} (errno {error.errno})"

    def take(self, brick: Brick, name: str, job: Job) -> None:
        _copy(filedata.share, brick, name, job)


@attrs.frozen
class Copy:
    """For every file system; needs as much space as the volume."""

    name: str = "copy"
    consistency: str = "per-file"

    def refusal(self, brick: Brick) -> str:
        return ""

    def take(self, brick: Brick, name: str, job: Job) -> None:
        _copy(filedata.copy, brick, name, job)


def _copy(move: Mover, brick: Brick, name: str, job: Job) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=brick.snapshots)
        target = open_dir(name, brick.snapshots)
        try:
            TreeCopy(move, job).tree(brick.fd, target)
            job.check()
            sync_filesystem(target)
        finally:
            os.close(target)
    except OSError as error:
        raise StorageFailed(
            f"cannot keep a snapshot in {brick}: {error.strerror} (errno {error.errno})", errno=error.errno
        ) from error
