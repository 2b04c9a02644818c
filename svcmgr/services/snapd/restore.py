"""Bringing content of a snapshot back: to a new place, or in place of what is there now.

To a new place: it is built under a name of our own beside the place and renamed when it is complete, so that the place
appears whole or not at all. In place: :mod:`swap`. The safety snapshot that has the old content is the caller's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from svcmgr.errors import AlreadyExists, BadInput, Busy, StorageFailed, SvcmgrError
from svcmgr.services.snapd import attributes, filedata, swap
from svcmgr.services.snapd.erase import erase
from svcmgr.services.snapd.job import Guard, Job
from svcmgr.services.snapd.reserve import Brick, opened, opened_all
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.space import check_space
from svcmgr.services.snapd.treecopy import TreeCopy
from svcmgr.services.snapd.walk import Border, descend, foreign_below, open_dir, parts_of
from svcmgr.volume import RESERVED_DIR, Record

#: What something is called while it is built beside its place.
BUILDING = ".svcmgr-restore-"


@attrs.frozen
class Source:
    """What is brought back: the entry that ``names`` lead to, all where there are none, of these bricks (from 0)."""

    record: Record
    names: tuple[str, ...]
    bricks: tuple[int, ...]

    @classmethod
    def of(cls, record: Record, path: str, brick: int) -> Source:
        """``brick`` counts from 1; 0 means the only one, or all for the top.

        Raises:
            BadInput: the path leaves the volume, or the volume has no such brick, or several and none is named.
        """
        names, count = parts_of(path), len(record.bricks)
        if not 0 <= brick <= count:
            raise BadInput(f"cannot use brick {brick}: the snapshot has {count}, counted from 1", brick=brick)
        if brick == 0 and count > 1 and names:
            raise BadInput(f"cannot tell which {path!r} is meant: the volume has {count} bricks, name one", path=path)
        return cls(record, names, tuple(range(count)) if brick == 0 else (brick - 1,))

    @property
    def path(self) -> str:
        return "/".join(self.names)


@contextlib.contextmanager
def _root(source: Source, brick: Brick) -> Iterator[int]:
    """The top of the snapshot in ``brick``."""
    try:
        fd = open_dir(source.record.id, brick.snapshots)
    except OSError as error:
        raise StorageFailed(
            f"cannot read snapshot {source.record.name!r} in {brick}: {error.strerror} (errno {error.errno})"
        ) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _copy(source: Source, root: int, target: int, name: str, job: Job) -> None:
    """The entry itself as ``name`` in ``target``; the whole top where ``source`` has no names."""
    copying = TreeCopy(filedata.share, job)
    if not source.names:
        os.mkdir(name, 0o700, dir_fd=target)
        made = open_dir(name, target)
        try:
            attributes.drop_inherited(made)
            copying.tree(root, made)
        finally:
            os.close(made)
        return
    parent = descend(root, source.names[:-1], f"snapshot {source.record.name}")
    try:
        copying.entry(parent, source.names[-1], target, name)
    except FileNotFoundError as error:
        raise BadInput(f"cannot find {source.path!r} in snapshot {source.record.name}", path=source.path) from error
    finally:
        os.close(parent)


def new_id() -> str:
    """What the working files of one restore are called by; nobody can guess it."""
    return str(uuid.uuid4())


# --- to a new place


def check_place(to: str) -> Path:
    """``to`` as a path that does not exist and whose parent does.

    Raises:
        BadInput: not absolute, not a name, below RESERVED_DIR, or in no directory.
        AlreadyExists: something is there.
    """
    place = Path(to)
    if not place.is_absolute() or place.name in ("", "..") or "\0" in to:
        raise BadInput(f"cannot restore to {to!r}: give an absolute path", path=to)
    try:
        parent = place.parent.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(f"cannot restore to {to!r}: the directory {place.parent} is not there", path=to) from error
    if RESERVED_DIR in (*parent.parts, place.name) or not parent.is_dir():
        raise BadInput(f"cannot restore to {to!r}: {parent} is no directory for that", path=to)
    if os.path.lexists(parent / place.name):
        raise AlreadyExists(f"cannot restore to {to}: it is there already; choose another place", path=to)
    return parent / place.name


def to_new_place(source: Source, place: Path, work_id: str, job: Job) -> list[str]:
    """Bring it to ``place``, which :func:`check_place` has seen; gives what was made.

    Raises:
        BadInput: the snapshot has no such entry.
        AlreadyExists: something came to be at the place meanwhile.
        LowSpace, StorageFailed, GivenUp: what was built is still there, under BUILDING + ``work_id``.
    """
    name = BUILDING + work_id
    try:
        parent = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _build(source, parent, name, job)
            _publish(parent, name, place)
        finally:
            os.close(parent)
    except OSError as error:
        raise StorageFailed(
            f"cannot restore to {place}: {error.strerror} (errno {error.errno})", errno=error.errno
        ) from error
    return [str(place)]


def _build(source: Source, parent: int, name: str, job: Job) -> None:
    if len(source.bricks) == 1:
        with opened(Path(source.record.bricks[source.bricks[0]])) as brick, _root(source, brick) as root:
            _copy(source, root, parent, name, job)
        return
    os.mkdir(name, 0o755, dir_fd=parent)
    target = open_dir(name, parent)
    try:
        for index in source.bricks:
            with opened(Path(source.record.bricks[index])) as brick, _root(source, brick) as root:
                _copy(source, root, target, f"brick-{index + 1}", job)
    finally:
        os.close(target)


def _publish(parent: int, name: str, place: Path) -> None:
    """Rename without replacing: link(2) and rename(2) of a directory refuse what is there already."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.rename(name, place.name, src_dir_fd=parent, dst_dir_fd=parent)
        else:
            os.link(name, place.name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
            os.unlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY):
            raise
        raise AlreadyExists(f"cannot restore to {place}: it is there now; choose another place") from error


# --- in place


def check_in_place(source: Source, job: Job) -> None:
    """Whether it can be done, before anything is.

    Raises:
        BadInput: the snapshot has no such entry, or a directory of its path is none now.
        Busy: a file system is mounted below what would be replaced.
        StorageFailed, NotPermitted: a brick or the snapshot in it cannot be used.
    """
    for index in source.bricks:
        with opened(Path(source.record.bricks[index])) as brick, _root(source, brick) as root:
            if source.names:
                _check_entry(source, root)
                _check_parents(source, brick.fd)
            _check_nothing_mounted(source, brick, job)


def _check_entry(source: Source, root: int) -> None:
    parent = descend(root, source.names[:-1], f"snapshot {source.record.name}")
    try:
        os.stat(source.names[-1], dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        raise BadInput(
            f"cannot find {source.path!r} in snapshot {source.record.name}: {error.strerror}", path=source.path
        ) from error
    finally:
        os.close(parent)


def _check_parents(source: Source, live: int) -> None:
    there = os.dup(live)
    try:
        for depth, name in enumerate(source.names[:-1], 1):
            try:
                below = open_dir(name, there)
            except FileNotFoundError:
                return
            except OSError as error:
                raise _no_directory(source, depth, error) from error
            os.close(there)
            there = below
    finally:
        os.close(there)


def _no_directory(source: Source, depth: int, error: OSError) -> BadInput:
    shown = "/".join(source.names[:depth])
    return BadInput(
        f"cannot restore {source.path!r} in place: {shown} is no directory now ({error.strerror}); "
        "restore to a new place",
        path=shown,
    )


def prepare(source: Source, settings: Settings, job: Job) -> swap.Plan:
    """Build everything beside the data; nothing visible has changed when this returns.

    Raises:
        BadInput: as :func:`check_in_place`, which has seen that it can be done.
        LowSpace, StorageFailed: nothing is left. GivenUp: what was built is a leftover.
    """
    plan = swap.Plan(
        id=new_id(),
        snapshot_id=source.record.id,
        places=[
            swap.Place(source.record.bricks[index], list(source.names[:-1]), source.names[-1] if source.names else "")
            for index in source.bricks
        ],
    )
    with opened_all([Path(place.brick) for place in plan.places]) as bricks:
        try:
            for brick in bricks:
                _prepare_one(source, settings, plan, brick, job)
        except OSError as error:
            _remove(plan, bricks, job)
            raise StorageFailed(
                f"cannot prepare the restore: {error.strerror} (errno {error.errno})", errno=error.errno
            ) from error
        except SvcmgrError:
            _remove(plan, bricks, job)
            raise
    return plan


def _prepare_one(source: Source, settings: Settings, plan: swap.Plan, brick: Brick, job: Job) -> None:
    check_space(settings.min_free, brick.fd, str(brick))
    job.guard = Guard(settings.min_free, brick.fd, str(brick))
    with _root(source, brick) as root, contextlib.ExitStack() as stack:
        parent = _parents(source, root, brick.fd, job)
        stack.callback(os.close, parent)
        os.mkdir(plan.workplace, 0o700, dir_fd=brick.reserved)
        work = open_dir(plan.workplace, brick.reserved)
        stack.callback(os.close, work)
        os.mkdir("old", 0o700, dir_fd=work)
        if not source.names:
            _copy(source, root, work, "new", job)
            return
        os.mkdir("new", 0o700, dir_fd=work)
        new = open_dir("new", work)
        stack.callback(os.close, new)
        _copy(source, root, new, source.names[-1], job)


def _check_nothing_mounted(source: Source, brick: Brick, job: Job) -> None:
    """What is mounted at the top of the volume stays; deeper, it would move away with its directory."""
    try:
        live = descend(brick.fd, source.names, str(brick))
    except BadInput:
        return  # not there, or no directory
    try:
        outside = Border.around(brick.fd).stops(live, os.fstat(live))
        if found := source.path if outside else foreign_below(live, 0 if source.names else 1, job.check):
            raise Busy(
                f"cannot restore {source.path or 'everything'} in place: {found} is another file system, mount or "
                "subvolume; unmount it, or restore to a new place",
                path=found,
            )
    finally:
        os.close(live)


def _parents(source: Source, root: int, live: int, job: Job) -> int:
    """The present directory that the entry belongs into; made as the snapshot has it where it is missing."""
    there = os.dup(live)
    for depth, name in enumerate(source.names[:-1], 1):
        try:
            below = open_dir(name, there)
        except FileNotFoundError:
            below = _make_like(descend(root, source.names[:depth], "the snapshot"), there, name, job)
        except OSError as error:
            raise _no_directory(source, depth, error) from error
        finally:
            os.close(there)
        there = below
    return there


def _make_like(original: int, parent: int, name: str, job: Job) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        made = open_dir(name, parent)
        attributes.drop_inherited(made)
        attributes.take_over(original, made, os.fstat(original), job, name)
        return made
    finally:
        os.close(original)


def _remove(plan: swap.Plan, bricks: Sequence[Brick], job: Job) -> None:
    with contextlib.suppress(OSError):  # the collector tries again, and tells
        for brick in bricks:
            erase(brick.reserved, plan.workplace, job)
