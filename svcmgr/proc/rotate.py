"""Lossless rotation of a log that somebody else is writing.

Theory of operation. The writer holds the live file open with O_APPEND and knows nothing of us. Rotation
copies whole blocks of the head to new pieces, renames the pieces into place, and then takes the head out of the
live file with fallocate(FALLOC_FL_COLLAPSE_RANGE), which is atomic against appending writers: the kernel holds
the inode's lock while what follows moves down and the file becomes shorter. No byte is lost and no signal is
sent. Pieces therefore end at block borders, not at line ends; readers join them.

The copy is on disk before the head goes. The first block is punched (made a hole) before the collapse because
of kills: collapsing twice would remove bytes, and a hole at the start is what a file has before the collapse and
never after it. Steps are noted in the record (see ``logrecord``), each step can be repeated, and
:meth:`Rotator.recover` does the steps that a killed process left.

The collapse writes out, under the inode's lock, the dirty pages of everything that moves. So they are flushed
before, without the lock, except for the newest; the writer waits for milliseconds instead of for the disk. ext4
drops the dirty pages of the head unwritten, other file systems write them too.

Where the file system cannot collapse (tmpfs, btrfs, NFS), the whole file is copied and truncated. What is
written between the last read and ftruncate(2) is lost there, and every result says ``lossy``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from svcmgr.errors import Busy, StorageFailed
from svcmgr.fsutil import NO_SPACE
from svcmgr.proc import filerange, logpieces, logrecord
from svcmgr.proc.logplan import Cut, plan
from svcmgr.proc.logrecord import Record
from svcmgr.proc.logview import pause

#: The end of the file that is left to be written out when it moves, and the rounds that come this near to the end.
_NEWEST = 1 << 20
_FLUSHES = 3
#: Together 0.1 s, in a worker thread.
_LOCK_TRIES = 20
_LOCK_PAUSE = 0.005


@attrs.frozen
class Rotation:
    """What one rotation did. ``moved`` bytes went from the live file to ``pieces`` new pieces, ``dropped`` bytes were
    removed by retention (old pieces, or a head larger than all pieces may be)."""

    pieces: int
    moved: int
    dropped: int
    lossy: bool


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

        A rotation that was interrupted is finished first. None when there was nothing to do (always so with
        ``max_bytes`` 0).

        Raises:
            StorageFailed: the file system refused (full, read-only, gone). The live log is untouched, or the rotation
                is half done in a way that readers understand; call again later.
            Busy: another process rotates this log.
        """
        with _reporting(path), _locked(path) as live:
            if not _regular(live):
                return None
            dropped = self._finish(live, path, keep)
            if not 0 < max_bytes < os.fstat(live).st_size:
                return None
            lossy = self.lossy(path)
            block = 0 if lossy else os.fstatvfs(live).f_bsize
            cut = plan(os.fstat(live).st_size, max_bytes, keep, block)
            if cut is None:
                return None
            try:
                cut = self._copy(live, path, cut, lossy)
            except OSError as error:
                if lossy or not cut.discarded or error.errno not in NO_SPACE:
                    raise
                # Old pieces and the discarded head are beyond what may be kept: that they go makes room.
                dropped += logpieces.prune(path, 0)
                cut = self._copy(live, path, Cut(cut.discarded, (), cut.discarded), lossy)
            dropped += cut.discarded + self._finish(live, path, keep)
            return Rotation(len(cut.ranges), cut.cut - cut.discarded, dropped, lossy)

    def recover(self, path: Path, keep: int) -> bool:
        """Finish a rotation that was killed half way. Returns whether there was one. Raises as :meth:`rotate`."""
        with _reporting(path), _locked(path) as live:
            record = logrecord.load(live, path)
            if record == Record(record.base) or not _regular(live):
                return False
            self._finish(live, path, keep)
            return True

    # --- before the point of no return: nothing but new files --------------------------------------

    def _copy(self, live: int, path: Path, cut: Cut, lossy: bool) -> Cut:
        base = logrecord.load(live, path).base
        self._store(live, path, Record(base, files=len(cut.ranges)))
        try:
            for index, offset, length in cut.ranges:
                logpieces.copy(live, logrecord.new_piece(path, index), offset, length, last=index == 1)
                self._checkpoint("copying")
            if not lossy:
                _settle(live, cut.cut)
            elif cut.ranges:
                cut = _longer(cut, logpieces.append_rest(live, logrecord.new_piece(path, 1), cut.cut))
            self._checkpoint("copied")
            step = logrecord.SHIFT_TRUNCATE if lossy else logrecord.SHIFT
            last = cut.ranges[-1][2] if cut.ranges else 0
            self._store(live, path, Record(base, step, cut.cut, len(cut.ranges), last))
        except (OSError, StorageFailed):
            logpieces.remove_new(path, len(cut.ranges))
            with contextlib.suppress(OSError, StorageFailed):  # it only says what to clean up
                logrecord.store(live, path, Record(base))
            raise
        return cut

    # --- after it: steps that can be repeated --------------------------------------------------------

    def _finish(self, live: int, path: Path, keep: int) -> int:
        """Carry out what the record says is left; returns bytes dropped by retention."""
        record = logrecord.load(live, path)
        dropped = 0
        if record.step in (logrecord.SHIFT, logrecord.SHIFT_TRUNCATE):
            dropped = logpieces.shift(path, record.files, keep, self._checkpoint)
            step = logrecord.PUNCH if record.step == logrecord.SHIFT else logrecord.TRUNCATE
            record = self._store(live, path, record._replace(step=step))
        if record.step == logrecord.PUNCH:
            record = self._punch(live, path, record)
        if record.step == logrecord.COLLAPSE:
            self._collapse(live, path, record)
        elif record.step == logrecord.TRUNCATE:
            self._truncate(live, path, record)
        elif record.files:
            logpieces.remove_new(path, record.files)
            self._store(live, path, Record(record.base))
        return dropped

    def _store(self, live: int, path: Path, record: Record) -> Record:
        logrecord.store(live, path, record)
        self._checkpoint(record.step)
        return record

    def _punch(self, live: int, path: Path, record: Record) -> Record:
        if os.fstat(live).st_size <= record.cut:
            # More than the head always stays, so somebody else truncated the file: the head is gone already.
            return self._store(live, path, Record(record.base + record.cut))
        filerange.punch(live, 0, os.fstatvfs(live).f_bsize)
        self._checkpoint("punched")
        return self._store(live, path, record._replace(step=logrecord.COLLAPSE))

    def _collapse(self, live: int, path: Path, record: Record) -> None:
        if not logrecord.head_removed(live, path, record):
            filerange.collapse(live, 0, record.cut)
            self._checkpoint("collapsed")
        self._store(live, path, Record(record.base + record.cut))

    def _truncate(self, live: int, path: Path, record: Record) -> None:
        """Copy what came meanwhile, then empty the file."""
        cut = logrecord.cut_by_now(path, record)
        if not record.files or not logrecord.head_removed(live, path, record):
            if record.files:
                cut += logpieces.append_rest(live, logrecord.piece(path, 1), cut)
            os.ftruncate(live, 0)
            self._checkpoint("truncated")
        self._store(live, path, Record(record.base + cut))


def _settle(live: int, cut: int) -> None:
    """Write out what the collapse would, but for the newest pages: who appends to them would have to wait."""
    done = cut if filerange.drops_head_unwritten(live) else 0
    for _ in range(_FLUSHES):
        edge = max(cut, os.fstat(live).st_size - _NEWEST)
        if edge - done >= _NEWEST:
            filerange.flush(live, done, edge - done)
            done = edge


def _longer(cut: Cut, grown: int) -> Cut:
    index, offset, length = cut.ranges[-1]
    return Cut(cut.cut + grown, (*cut.ranges[:-1], (index, offset, length + grown)), cut.discarded)


def _regular(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _lock(fd: int) -> None:
    """Readers of an interrupted rotation hold the lock for a moment; another rotator holds it for long."""
    for _ in range(_LOCK_TRIES - 1):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pause(_LOCK_PAUSE)
    return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The live file, with the lock that keeps other rotators away."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _lock(fd)
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
