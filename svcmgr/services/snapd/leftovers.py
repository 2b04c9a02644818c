"""What operations that did not end have left, and how it goes away.

Ours to remove is: data of snapshots that are marked ``taking`` or ``deleting``; data whose name ends in ``.partial``;
workplaces of restores without a plan; what a restore to a new place was building. Complete data that nothing is known
about is reported and kept.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import msgspec

from svcmgr.errors import BadInput, StorageFailed, SvcmgrError
from svcmgr.fsutil import atomic_write, read_limited
from svcmgr.services.snapd import restore, swap
from svcmgr.services.snapd.catalogue import QUARANTINE, Catalogue
from svcmgr.services.snapd.erase import erase
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.reserve import Brick, is_used, opened
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.taking import PARTIAL, remove

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PLACING = ".placing"
#: A workplace that nobody needs is renamed to this and its id.
_TRASH = "trash-"
_UNKNOWN_MAX = 100


class _Placing(msgspec.Struct, frozen=True):
    """A restore to a new place is building in this directory."""

    parent: str


@attrs.frozen
class Gathered:
    """What one round of the collector removes: data by snapshot id, and marks of restores to a new place."""

    data: tuple[str, ...]
    places: tuple[Path, ...]


@attrs.define
class Counts:
    """``unknown``: complete data without a record, kept; at most 100 are named."""

    collected: int = 0
    failed: int = 0
    last_error: str = ""
    unknown: tuple[str, ...] = ()


class Leftovers:
    """The collector of one volume. ``survey`` and ``recover`` belong to the start, before anything else changes."""

    def __init__(self, settings: Settings, catalogue: Catalogue, log: logging.Logger) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._log = log
        self.counts = Counts()

    # --- at the start

    def recover(self, job: Job) -> None:
        """Carry out the restores in place that were under way. A plan that cannot be read is quarantined."""
        for path in sorted(self._settings.store.glob(f"*{swap.SUFFIX}")):
            try:
                plan = swap.read(path)
                self._log.warning("a restore in place was interrupted; carrying it out: %s", plan.id)
                for failure in swap.carry_out(plan, job):
                    self._fail(f"restore {plan.id}: cannot put in place {failure}")
                swap.forget(self._settings.store, plan)
            except BadInput as error:
                self._fail(error.message)
                (self._settings.store / QUARANTINE).mkdir(mode=0o700, exist_ok=True)
                os.rename(path, self._settings.store / QUARANTINE / path.name)
            except (SvcmgrError, OSError) as error:
                self._fail(f"cannot carry out {path.name} now, it is tried again at the next start: {error}")

    def survey(self) -> None:
        """Find data that no mark of ours speaks of."""
        known = {record.id for record in self._catalogue.records} | self._catalogue.doomed
        known |= {line.partition(".")[0] for line in self._catalogue.quarantined}
        unknown: list[str] = []
        for path in filter(is_used, self._settings.bricks):
            with self._reported(path), opened(path) as brick:
                for name in os.listdir(brick.snapshots):
                    self._survey_one(brick, name, known, unknown)
        self.counts.unknown = tuple(unknown[:_UNKNOWN_MAX])
        for where in self.counts.unknown:
            self._log.warning("%s has no record; kept, remove it by hand if nobody needs it", where)

    def _survey_one(self, brick: Brick, name: str, known: set[str], unknown: list[str]) -> None:
        base = name.removesuffix(PARTIAL)
        if not _ID.match(base) or base in known:
            return
        if base != name:
            self._catalogue.abandon(base)
        else:
            unknown.append(f"{brick}/.svcmgr/snapshots/{name}")

    # --- restores to a new place

    def placing(self, work_id: str, parent: Path) -> None:
        """Something will be built in ``parent``. Raises StorageFailed."""
        data = msgspec.json.encode(_Placing(os.fspath(parent)))
        atomic_write(self._settings.store / (work_id + _PLACING), data, mode=0o600)

    def placed(self, work_id: str) -> None:
        """Nothing of it is left but its result."""
        with contextlib.suppress(FileNotFoundError):
            (self._settings.store / (work_id + _PLACING)).unlink()

    def clear_place(self, work_id: str, parent: Path, job: Job) -> None:
        """Remove what was built. Raises OSError, GivenUp."""
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                erase(fd, restore.BUILDING + work_id, job)
            finally:
                os.close(fd)
        self.placed(work_id)

    # --- at any time

    def gather(self) -> Gathered:
        """Find what is ours to remove, while nothing else changes. Quick: workplaces are only renamed."""
        for path in filter(is_used, self._settings.bricks):
            with self._reported(path), opened(path) as brick:
                self._condemn_workplaces(brick)
        places = tuple(sorted(self._settings.store.glob(f"*{_PLACING}")))
        return Gathered(tuple(sorted(self._catalogue.doomed)), places)

    def collect(self, gathered: Gathered, job: Job) -> None:
        """Remove it; others may change things meanwhile. What fails is counted and stays for the next time.

        Raises:
            GivenUp: the job was told to end.
        """
        for snapshot_id in gathered.data:
            with self._reported(snapshot_id):
                self._collect_data(snapshot_id, job)
        for path in filter(is_used, self._settings.bricks):
            with self._reported(path), opened(path) as brick:
                self._collect_trash(brick, job)
        for path in gathered.places:
            with self._reported(path):
                self._collect_place(path, job)

    def _collect_data(self, snapshot_id: str, job: Job) -> None:
        for path in self._settings.bricks:
            with opened(path) as brick:
                remove(snapshot_id, [brick], job)
        self._catalogue.erased(snapshot_id)
        self.counts.collected += 1

    def _condemn_workplaces(self, brick: Brick) -> None:
        for name in os.listdir(brick.reserved):
            work_id = name.removeprefix(swap.PREFIX)
            if work_id == name or not _ID.match(work_id):
                continue
            if not (self._settings.store / f"{work_id}{swap.SUFFIX}").exists():
                os.rename(name, _TRASH + work_id, src_dir_fd=brick.reserved, dst_dir_fd=brick.reserved)

    def _collect_trash(self, brick: Brick, job: Job) -> None:
        for name in os.listdir(brick.reserved):
            if name.startswith(_TRASH):
                erase(brick.reserved, name, job)
                self.counts.collected += 1

    def _collect_place(self, path: Path, job: Job) -> None:
        try:
            placing = msgspec.json.decode(read_limited(path, 1 << 16), type=_Placing)
        except msgspec.MsgspecError as error:
            raise StorageFailed(f"cannot read {path}: {error}") from error
        self.clear_place(path.name.removesuffix(_PLACING), Path(placing.parent), job)
        self.counts.collected += 1

    @contextlib.contextmanager
    def _reported(self, what: object) -> Iterator[None]:
        try:
            yield
        except (SvcmgrError, OSError) as error:
            self._fail(f"cannot clean up {what}: {error}")

    def _fail(self, why: str) -> None:
        self.counts.failed += 1
        if why != self.counts.last_error:
            self._log.error("%s", why)
        self.counts.last_error = why
