"""What a way of taking snapshots must be able to do."""

from __future__ import annotations

from typing import Protocol

from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.reserve import Brick


class Method(Protocol):
    """``name`` and ``consistency`` are those of wire.Snapshot."""

    @property
    def name(self) -> str: ...

    @property
    def consistency(self) -> str: ...

    def refusal(self, brick: Brick) -> str:
        """Why it cannot take this brick; "" if it can. Leaves nothing behind."""
        ...

    def take(self, brick: Brick, name: str, job: Job) -> None:
        """The content of ``brick`` as directory ``name`` in its snapshots directory, on disk when it returns.

        What is there after an error is the caller's to remove.

        Raises:
            LowSpace, StorageFailed, NotPermitted: the file system refuses.
            GivenUp: the job was told to end.
        """
        ...
