"""Putting restored content in the place of the present one, so that a crash in between does no harm.

Everything is built beside the data, in ``BRICK/.svcmgr/restore-ID/new``, before anything is touched. Then a plan is
written; from there on the way is only forward: each entry's present content is moved to ``restore-ID/old`` and the new
one to its place, both by rename(2). A step that was done is seen to be done, so the plan can be carried out any number
of times: after a crash the next snapd does it again from the start.

Everything of a volume is its top-level entries one after the other, RESERVED_DIR and mount points excepted; what the
snapshot does not have is moved away last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from svcmgr.errors import BadInput
from svcmgr.fsutil import atomic_write, fsync_dir, read_limited
from svcmgr.services.snapd import attributes
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.reserve import Brick, opened
from svcmgr.services.snapd.walk import Border, descend, open_dir
from svcmgr.volume import RESERVED_DIR

PREFIX = "restore-"
SUFFIX = ".plan"
_SIZE_MAX = 1 << 20


class Place(msgspec.Struct, frozen=True):
    """Where in a brick: the entry ``name`` of the directory ``parents`` lead to; all of the top where it is ""."""

    brick: str
    parents: list[str]
    name: str


class Plan(msgspec.Struct, frozen=True):
    """One restore in place whose new content is complete."""

    id: str
    snapshot_id: str
    places: list[Place]

    @property
    def workplace(self) -> str:
        return PREFIX + self.id


def write(store: Path, plan: Plan) -> None:
    """From here on the restore will be carried out. Raises StorageFailed."""
    atomic_write(store / f"{plan.id}{SUFFIX}", msgspec.json.encode(plan), mode=0o600)


def read(path: Path) -> Plan:
    """Raises BadInput for what is no plan, OSError."""
    try:
        return msgspec.json.decode(read_limited(path, _SIZE_MAX), type=Plan)
    except msgspec.MsgspecError as error:
        raise BadInput(f"cannot read {path}: {error}", path=str(path)) from error


def forget(store: Path, plan: Plan) -> None:
    """It was carried out. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(store / f"{plan.id}{SUFFIX}")
    fsync_dir(store)


def carry_out(plan: Plan, job: Job) -> list[str]:
    """All of ``plan``, or what is left of it; gives what could not be put in place, and why. All else was.

    Mount points that stay are noted.

    Raises:
        StorageFailed, NotPermitted: a brick cannot be used; the plan can be carried out when it can.
    """
    failed: list[str] = []
    for place in plan.places:
        with opened(Path(place.brick)) as brick:
            try:
                _carry_out_one(plan, place, brick, job, failed)
            except BadInput as error:
                failed.append(error.message)
            except OSError as error:
                failed.append(f"{place.brick}: {error.strerror}")
    return failed


def _carry_out_one(plan: Plan, place: Place, brick: Brick, job: Job, failed: list[str]) -> None:
    try:
        work = open_dir(plan.workplace, brick.reserved)
    except FileNotFoundError:
        return  # done, and cleaned up
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, work)
        parent = descend(brick.fd, place.parents, place.brick)
        stack.callback(os.close, parent)
        new, old = (_opened(stack, name, work) for name in ("new", "old"))
        swap = _Swap(new, old, parent, job, failed)
        swap.replace_all()
        if not place.name:
            _finish_top(plan, brick, swap, stack)
        for fd in (parent, old, new):
            os.fsync(fd)


def _finish_top(plan: Plan, brick: Brick, swap: _Swap, stack: contextlib.ExitStack) -> None:
    root = _opened(stack, plan.snapshot_id, brick.snapshots)
    swap.move_away_what_is_not_in(root)
    attributes.take_over(root, brick.fd, os.fstat(root), swap.job, ".")


def _opened(stack: contextlib.ExitStack, name: str, parent: int) -> int:
    fd = open_dir(name, parent)
    stack.callback(os.close, fd)
    return fd


class _Swap:
    """One directory: what is in ``new`` goes to ``live``, what is in its place there to ``old``."""

    def __init__(self, new: int, old: int, live: int, job: Job, failed: list[str]) -> None:
        self.job = job
        self._new = new
        self._old = old
        self._live = live
        self._failed = failed
        self._border = Border.around(live)

    def replace_all(self) -> None:
        for name in os.listdir(self._new):
            with self._noting(name):
                self._replace(name)

    def move_away_what_is_not_in(self, root: int) -> None:
        for name in os.listdir(self._live):
            if name != RESERVED_DIR and not _exists(name, root):
                with self._noting(name):
                    if not self._stays(name):
                        self._move_away(name)

    def _replace(self, name: str) -> None:
        if _exists(name, self._live):
            if self._stays(name):
                return
            self._move_away(name)
        os.rename(name, name, src_dir_fd=self._new, dst_dir_fd=self._live)

    def _move_away(self, name: str) -> None:
        free = name
        number = 0
        while _exists(free, self._old):  # somebody made it again while we were away
            number += 1
            free = f"{name[:80]}~{number}"
        os.rename(name, free, src_dir_fd=self._live, dst_dir_fd=self._old)

    def _stays(self, name: str) -> bool:
        """Whether ``name`` is where another file system begins: that is not part of the volume's content."""
        try:
            fd = open_dir(name, self._live)
        except OSError:
            return False
        try:
            why = self._border.stops(fd, os.fstat(fd))
        finally:
            os.close(fd)
        if why:
            self.job.note(name, f"{why}; it stays as it is")
        return bool(why)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            return  # its owner was faster
        except OSError as error:
            self._failed.append(f"{name}: {error.strerror}")


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
