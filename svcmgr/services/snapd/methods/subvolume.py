"""Read-only snapshots by btrfs itself: one moment, one call, whatever the number of files."""

from __future__ import annotations

import attrs

from svcmgr import btrfs
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.reserve import Brick


@attrs.frozen
class Subvolume:
    """For bricks that are the root of a btrfs subvolume."""

    name: str = "btrfs"
    consistency: str = "instant"

    def refusal(self, brick: Brick) -> str:
        return "" if btrfs.is_subvolume(brick.fd) else "it is not the root of a btrfs subvolume"

    def take(self, brick: Brick, name: str, job: Job) -> None:
        job.check()
        btrfs.snapshot(brick.fd, brick.snapshots, name)
