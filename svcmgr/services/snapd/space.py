"""How much space a snapshot must leave free."""

from __future__ import annotations

import os
from collections.abc import Iterable

import attrs

from svcmgr.errors import LowSpace
from svcmgr.volume import Free


@attrs.frozen
class Space:
    """A file system's bytes: free for ordinary users (statvfs(3), f_bavail), and all of them."""

    free: int
    total: int

    @classmethod
    def of(cls, fd: int) -> Space:
        """Of the file system that ``fd`` is on."""
        facts = os.fstatvfs(fd)
        return cls(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)

    @property
    def share(self) -> float:
        """Free as a part of all, 0 to 1."""
        return self.free / self.total if self.total else 0.0


def check_space(keep: Free, fd: int, where: str) -> int:
    """How many bytes more than ``keep`` are free on the file system of ``fd``. Raises LowSpace where there are less."""
    space = Space.of(fd)
    if space.free < (bytes_to_keep := keep.of(space.total)):
        raise LowSpace(
            f"cannot go on writing to {where}: {_mib(space.free)} are free and {_mib(bytes_to_keep)} must stay free "
            f"({keep.text()} by features.snapshot-min-free); delete snapshots, or lower the option",
            free=space.free,
            keep=bytes_to_keep,
            brick=where,
        )
    return space.free - bytes_to_keep


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def fullest(spaces: Iterable[Space]) -> Space:
    """The one with the smallest free part; all zero where there is none."""
    return min(spaces, key=lambda space: space.share, default=Space(0, 0))
