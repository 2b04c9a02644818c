"""Lossless rotation of a log that somebody else is writing.

Theory of operation. The writer holds the live file open with O_APPEND and knows nothing of us. Rotation
copies whole blocks of the head to new pieces, renames the pieces into place, and then takes the head out of the
live file with fallocate(FALLOC_FL_COLLAPSE_RANGE), which is atomic against appending writers: the kernel holds
the inode's lock while what follows moves down and the file becomes shorter. No byte is lost and no signal is
sent. Pieces therefore end at block borders, not at line ends; readers join them.

The copy is on disk before the head goes. The head is punched (made a hole) before it is collapsed because of
kills: collapsing twice would remove bytes, and a hole at the head is what a file has before the collapse and
never after it. Steps are noted in the record (see ``logrecord``), each step can be repeated, and
:meth:`Rotator.recover` does the steps that a killed process left.

The collapse writes out, under the inode's lock, the dirty pages of everything that moves. So they are flushed
before, without the lock; that keeps the writer waiting for milliseconds instead of for the disk.

Where the file system cannot collapse (tmpfs, btrfs, NFS), the whole file is copied and truncated. What is
written between the last read and ftruncate(2) is lost there, and every result says ``lossy``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from svcmgr.errors import Busy, StorageFailed
from svcmgr.proc import filerange, logrecord
from svcmgr.proc.logrecord import Record

_COPY = 1 << 20


@attrs.frozen
class Rotation:
    """What one rotation did. ``moved`` bytes went from the live file to ``pieces`` new pieces, ``dropped`` bytes were
    removed by retention (old pieces, or a head larger than all pieces may be)."""

    pieces: int
    moved: int
    dropped: int
    lossy: bool


@attrs.frozen
class Cut:
    """A plan: remove ``cut`` bytes; ``ranges`` are (piece index, offset, length), the newest piece is 1."""

    cut: int
    ranges: tuple[tuple[int, int, int], ...]
    discarded: int


def plan(size: int, max_bytes: int, keep: int, block: int) -> Cut | None:
    """Which part of a file of ``size`` bytes to move where; None when there is nothing to do.

    ``block`` > 0: lengths are multiples of it and at least one byte stays (what a collapse asks for). 0: all of the
    file goes, in pieces of equal length that may be a quarter over ``max_bytes`` rather than leave a tiny one.
    """
    if size <= max_bytes:
        return None
    if block:
        length = max(block, max_bytes // block * block)
        count = (size - 1) // length
        cut = count * length
    else:
        cut, limit = size, max(1, max_bytes)
        count = max(1, size // limit + (size % limit > limit // 4))
        length = -(-size // count)
        count = -(-size // length)
    kept = min(count, keep, logrecord.MAX_FILES)
    first = count - kept
    ranges = tuple((count - n, n * length, min(length, cut - n * length)) for n in range(first, count))
    return Cut(cut, ranges, min(cut, first * length)) if cut else None


class Rotator:
    """Rotates logs; remembers which file systems can collapse. Blocking: call it from a worker thread.

    ``checkpoint`` is called with the name of each step; tests end the process there. ``can_collapse`` tells whether
    files of a directory can be collapsed.
    """

    def __init__(
        self,
        checkpoint: Callable[[str], None] = lambda step: None,
        can_collapse: Callable[[Path], bool] = filerange.can_collapse,
    ) -> None:
        self._checkpoint = checkpoint
        self._can_collapse = can_collapse
        self._collapses: dict[int, bool] = {}

    def lossy(self, path: Path) -> bool:
        """Whether logs beside ``path`` can only be copied and truncated. Raises OSError: no trial file."""
        device = path.parent.stat().st_dev
        if device not in self._collapses:
            self._collapses[device] = self._can_collapse(path.parent)
        return not self._collapses[device]

    def rotate(self, path: Path, max_bytes: int, keep: int) -> Rotation | None:
        """Rotate if the live file is over ``max_bytes``, and keep at most ``keep`` pieces of that size.

        A rotation that was interrupted is finished first. None when there was nothing to do.

        Raises:
            StorageFailed: the file system refused (full, read-only, gone). The live log is untouched, or the rotation
                is half done in a way that readers understand; call again later.
            Busy: another process rotates this log.
        """
        with _reporting(path), _locked(path) as live:
            if not _regular(live):
                return None
            dropped = self._finish(live, path, keep)
            lossy = self.lossy(path)
            block = 0 if lossy else os.fstatvfs(live).f_bsize
            cut = plan(os.fstat(live).st_size, max_bytes, keep, block)
            if cut is None:
                return None
            if lossy:
                cut = self._copy_all(live, path, cut)
            else:
                self._copy(live, path, cut)
                filerange.flush(live, cut.cut)
            self._checkpoint("copied")
            step = logrecord.SHIFT_TRUNCATE if lossy else logrecord.SHIFT
            self._note(live, path, step, cut)
            dropped += cut.discarded + self._finish(live, path, keep)
            return Rotation(len(cut.ranges), cut.cut, dropped, lossy)

    def recover(self, path: Path, keep: int) -> bool:
        """Finish a rotation that was killed half way. Returns whether there was one. Raises as :meth:`rotate`."""
        with _reporting(path), _locked(path) as live:
            record = logrecord.load(live, path)
            if record == Record(record.base) or not _regular(live):
                return False
            self._finish(live, path, keep)
            return True

    # --- before the point of no return: nothing but new files --------------------------------------

    def _copy(self, live: int, path: Path, cut: Cut) -> None:
        base = logrecord.load(live, path).base
        self._store(live, path, Record(base, files=len(cut.ranges)))
        try:
            for index, offset, length in cut.ranges:
                self._copy_piece(live, _new(path, index), offset, length)
                self._checkpoint("copying")
        except OSError:
            _remove_new(path, len(cut.ranges))
            logrecord.store(live, path, Record(base))
            raise

    def _copy_piece(self, live: int, target: Path, offset: int, length: int) -> None:
        status = os.fstat(live)
        # Made anew, never reused: who may write to the directory could have linked that name to any file.
        target.unlink(missing_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with contextlib.suppress(PermissionError):
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, status.st_mode & 0o777)
            copy_range(live, fd, offset, length)
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def _copy_all(self, live: int, path: Path, cut: Cut) -> Cut:
        """Copy, and extend the newest piece until the end of the file stands still for a moment."""
        self._copy(live, path, cut)
        if not cut.ranges:
            return cut
        grown = _append_rest(live, _new(path, 1), cut.cut)
        index, offset, length = cut.ranges[-1]
        return Cut(cut.cut + grown, (*cut.ranges[:-1], (index, offset, length + grown)), cut.discarded)

    # --- after it: steps that can be repeated --------------------------------------------------------

    def _note(self, live: int, path: Path, step: str, cut: Cut) -> None:
        last = cut.ranges[-1][2] if cut.ranges else 0
        base = logrecord.load(live, path).base
        try:
            logrecord.store(live, path, Record(base, step, cut.cut, len(cut.ranges), last))
        except (OSError, StorageFailed):
            _remove_new(path, len(cut.ranges))
            raise
        self._checkpoint(step)

    def _finish(self, live: int, path: Path, keep: int) -> int:
        """Carry out what the record says is left; returns bytes dropped by retention."""
        record = logrecord.load(live, path)
        dropped = 0
        if record.step in (logrecord.SHIFT, logrecord.SHIFT_TRUNCATE):
            dropped = self._shift(path, record.files, keep)
            record = record._replace(step=logrecord.PUNCH if record.step == logrecord.SHIFT else logrecord.TRUNCATE)
            self._store(live, path, record)
        if record.step == logrecord.PUNCH and os.fstat(live).st_size <= record.cut:
            # More than the head always stays, so somebody else truncated the file: the head is gone already.
            self._store(live, path, Record(record.base + record.cut))
            return dropped
        if record.step == logrecord.PUNCH:
            filerange.punch(live, 0, record.cut)
            self._checkpoint("punched")
            record = record._replace(step=logrecord.COLLAPSE)
            self._store(live, path, record)
        if record.step == logrecord.COLLAPSE:
            if not logrecord.head_removed(live, path, record):
                filerange.collapse(live, 0, record.cut)
                self._checkpoint("collapsed")
            self._store(live, path, Record(record.base + record.cut))
        elif record.step == logrecord.TRUNCATE:
            self._store(live, path, Record(record.base + self._truncate(live, path, record)))
        elif record.files:
            _remove_new(path, record.files)
            self._store(live, path, Record(record.base))
        return dropped

    def _store(self, live: int, path: Path, record: Record) -> None:
        logrecord.store(live, path, record)
        self._checkpoint(record.step)

    def _shift(self, path: Path, count: int, keep: int) -> int:
        """Make room below for ``count`` new pieces and rename them into it. Newest last: it marks the end."""
        dropped = _prune(path, keep)
        if not _new(path, 1).exists():
            return dropped
        for index in range(_gap(path, count) - 1, 0, -1):
            old = logrecord.piece(path, index)
            if index + count > keep:
                dropped += _remove(old)
            elif old.exists():
                old.rename(logrecord.piece(path, index + count))
            self._checkpoint("shifting")
        for index in range(count, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                _new(path, index).rename(logrecord.piece(path, index))
            self._checkpoint("renaming")
        return dropped

    def _truncate(self, live: int, path: Path, record: Record) -> int:
        """Copy what came meanwhile, then empty the file; returns how many bytes are in pieces now."""
        cut = logrecord.cut_by_now(path, record)
        if record.files and logrecord.head_removed(live, path, record):
            return cut
        if record.files:
            cut += _append_rest(live, logrecord.piece(path, 1), cut)
        os.ftruncate(live, 0)
        self._checkpoint("truncated")
        return cut


def copy_range(source: int, target: int, offset: int, length: int) -> None:
    """Write ``length`` bytes at ``offset`` of ``source`` to ``target``, in the kernel where it can.

    Raises:
        OSError: as copy_file_range(2) does; ESTALE when the source ended early.
    """
    end = offset + length
    while offset < end:
        try:
            copied = os.copy_file_range(source, target, min(_COPY, end - offset), offset)
        except OSError as error:
            if error.errno not in filerange.UNSUPPORTED and error.errno != errno.EXDEV:
                raise
            copied = os.write(target, os.pread(source, min(_COPY, end - offset), offset))
        if copied == 0:
            raise OSError(errno.ESTALE, "the log became shorter while it was copied")
        offset += copied


def _regular(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _append_rest(live: int, target: Path, offset: int) -> int:
    """Append to ``target`` what the live file has from ``offset`` on; returns how much."""
    fd = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    start = offset
    try:
        while data := os.pread(live, _COPY, offset):
            offset += os.write(fd, data)
    finally:
        os.close(fd)
    return offset - start


def _gap(path: Path, count: int) -> int:
    """The lowest index from which ``count`` pieces are missing: below it are those that must still move."""
    index, missing = 1, 0
    while missing < count:
        missing = 0 if logrecord.piece(path, index).exists() else missing + 1
        index += 1
    return index - count


def _prune(path: Path, keep: int) -> int:
    index, dropped = keep + 1, 0
    while size := _remove(logrecord.piece(path, index)):
        dropped += size
        index += 1
    return dropped


def _remove(path: Path) -> int:
    """Unlink; returns the size, 0 when it was not there."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def _new(path: Path, index: int) -> Path:
    return path.with_name(f".{path.name}.new.{index}")


def _remove_new(path: Path, count: int) -> None:
    for index in range(1, count + 1):
        with contextlib.suppress(OSError):
            _new(path, index).unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The live file, with the lock that keeps other rotators away."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError as error:
        raise Busy(
            f"cannot rotate {path}: another process holds its lock; it is tried again", path=str(path)
        ) from error
    except OSError as error:
        raise StorageFailed(
            f"cannot rotate {path}: {error.strerror} (errno {error.errno}); nothing is lost, it is tried again",
            path=str(path),
            errno=error.errno,
        ) from error
