"""Taking a snapshot: data first, then the record, and nothing is listed before both are there.

The steps, each of which a crash may follow: the mark ``taking`` is written; the data goes to ``ID.partial`` in every
brick; all are renamed to ``ID``; the record is written, and with it the snapshot exists. What a crash leaves before
the record is data under a mark, which :mod:`leftovers` removes.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence

import attrs

from svcmgr.clock import Clock
from svcmgr.errors import Busy, StorageFailed, SvcmgrError
from svcmgr.services.snapd.catalogue import Catalogue
from svcmgr.services.snapd.erase import erase
from svcmgr.services.snapd.job import Guard, Job
from svcmgr.services.snapd.methods import Method, choose
from svcmgr.services.snapd.reserve import Brick, opened_all
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.space import check_space
from svcmgr.volume import Record, check_snapshot_name

PARTIAL = ".partial"


@attrs.frozen
class Order:
    """What is asked for. ``created``: UTC seconds."""

    name: str
    created: float
    origin: str = "operator"
    description: str = ""
    activated: bool = True


@attrs.frozen
class Taking:
    """Takes snapshots of one volume, in the thread of its caller, one at a time."""

    settings: Settings
    catalogue: Catalogue
    clock: Clock

    def take(self, order: Order, job: Job) -> Record:
        """The record of the new snapshot, which exists then.

        Raises:
            BadInput, AlreadyExists: the name cannot be used.
            Busy: there are as many as the volume may have.
            Unsupported: the method that was chosen cannot take a brick.
            LowSpace, StorageFailed, NotPermitted: and nothing is left of it.
            GivenUp: the job was told to end; what is left of it is doomed.
        """
        self._check(order)
        snapshot_id = str(uuid.uuid4())
        began = self.clock.monotonic()
        with opened_all(self.settings.bricks) as bricks:
            method = choose(self.settings.method, bricks)
            for brick in bricks:
                check_space(self.settings.min_free, brick.fd, str(brick))
            with self._undone(snapshot_id, bricks, job):
                self.catalogue.begin(snapshot_id)
                self._make(method, bricks, snapshot_id, job)
                record = self._record(order, snapshot_id, method, job, self.clock.monotonic() - began)
                self.catalogue.commit(record)
        return record

    def _check(self, order: Order) -> None:
        check_snapshot_name(order.name)
        self.catalogue.check_free(order.name)
        if (count := len(self.catalogue.records)) >= self.settings.max_count:
            raise Busy(
                f"cannot take snapshot {order.name!r}: volume {self.settings.volume} has {count}, the limit is "
                f"{self.settings.max_count} (features.snapshot-max-count); delete some, or raise the option",
                limit=self.settings.max_count,
            )

    def _make(self, method: Method, bricks: Sequence[Brick], snapshot_id: str, job: Job) -> None:
        for brick in bricks:
            job.guard = Guard(self.settings.min_free, brick.fd, str(brick))
            method.take(brick, snapshot_id + PARTIAL, job)
        job.check()
        for brick in bricks:
            try:
                os.rename(snapshot_id + PARTIAL, snapshot_id, src_dir_fd=brick.snapshots, dst_dir_fd=brick.snapshots)
                os.fsync(brick.snapshots)
            except OSError as error:
                raise StorageFailed(
                    f"cannot finish a snapshot in {brick}: {error.strerror} (errno {error.errno})", errno=error.errno
                ) from error

    def _record(self, order: Order, snapshot_id: str, method: Method, job: Job, seconds: float) -> Record:
        return Record(
            name=order.name,
            id=snapshot_id,
            volume_id=self.settings.volume_id,
            created=order.created,
            method=method.name,
            consistency=method.consistency,
            bricks=tuple(map(str, self.settings.bricks)),
            activated=order.activated,
            origin=order.origin,
            description=order.description,
            cost=job.cost(seconds),
            skipped=tuple(job.notes),
            volume_options=self.settings.options,
        )

    @contextlib.contextmanager
    def _undone(self, snapshot_id: str, bricks: Sequence[Brick], job: Job) -> Iterator[None]:
        """What fails inside leaves no data; where removing fails as well, the data is doomed."""
        try:
            yield
        except BaseException as error:
            self.catalogue.abandon(snapshot_id)
            if isinstance(error, SvcmgrError):
                with contextlib.suppress(OSError):  # the collector tries again, and tells
                    remove(snapshot_id, bricks, job)
                    self.catalogue.erased(snapshot_id)
            raise


def remove(snapshot_id: str, bricks: Sequence[Brick], job: Job) -> None:
    """The data of a snapshot that does not exist. Raises OSError, GivenUp."""
    for brick in bricks:
        for name in (snapshot_id, snapshot_id + PARTIAL):
            erase(brick.snapshots, name, job)
