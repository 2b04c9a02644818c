"""A log as bytes at positions, read while it grows and rotates.

Theory of operation. :class:`LogView` answers one question: which bytes are at this position? (See
``logrecord`` for positions.) It reads the record before and after the bytes and tries again when a rotation
came between, so it never blocks a rotation and never returns a byte twice or a byte of elsewhere. When the
record says that a rotation is half done, a shared flock tells whether somebody is at it (then wait) or was
killed (then read under the lock, which keeps the state as it is). Everything else is arithmetic on positions.

No asyncio and no attrs here: command line tools import this module, by way of ``logread``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from svcmgr.errors import NotPermitted, StorageFailed, SvcmgrError
from svcmgr.proc import logrecord

T = TypeVar("T")

CHUNK = 256 * 1024
#: A rotation changes the live file within milliseconds; look again after this many seconds.
_RETRY = 0.005
#: Tries before reading without certainty (10 s: somebody holds the lock who does not rotate).
_TRIES = 2000


class _Extent(NamedTuple):
    """What a record means for readers: the position of the live file's first byte, and from which position the
    live file is valid; up to there the bytes are in pieces. Those begin with number ``first``, and up to ``gap``
    numbers in a row may be free while pieces are being renamed."""

    base: int
    live_from: int
    first: int = 1
    gap: int = 0


class LogView:
    """One log as bytes at positions. Holds at most two descriptors; not for use by several threads at once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._live = -1
        self._piece = -1
        self._piece_start = self._piece_end = 0
        self.reopen()

    def __enter__(self) -> LogView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; idempotent."""
        self._drop_piece()
        if self._live >= 0:
            os.close(self._live)
            self._live = -1

    def reopen(self) -> bool:
        """Open what is at the path now. Returns whether that is another file than before.

        A log that is not there, or that is not a regular file, is empty and no error.

        Raises:
            NotPermitted, StorageFailed: the log cannot be opened.
        """
        with _saying(self.path):
            try:
                live = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            except FileNotFoundError:
                return False
        status = os.fstat(live)
        known = self._live >= 0 and os.path.samestat(status, os.fstat(self._live))
        if known or not stat.S_ISREG(status.st_mode):
            os.close(live)
            return False
        self.close()
        self._live = live
        return True

    @property
    def opened(self) -> bool:
        """Whether there is a live file."""
        return self._live >= 0

    def current(self) -> bool:
        """Whether what is open is what the path names now; a name that is gone counts as current."""
        try:
            status = os.stat(self.path)
        except OSError:
            return True
        return self._live >= 0 and os.path.samestat(status, os.fstat(self._live))

    def bounds(self) -> tuple[int, int]:
        """Positions of the oldest byte kept and of the end; (0, 0) for a log that is not there.

        Raises:
            NotPermitted, StorageFailed: a piece cannot be seen.
        """
        if self._live < 0:
            return 0, 0
        with _saying(self.path):
            return self._steady(self._bounds)

    def read(self, position: int, size: int) -> tuple[int, bytes]:
        """At most ``size`` bytes at ``position``, and the position they are really at.

        That one is higher than asked for when retention has removed what was there. Empty bytes mean the end.
        A read ends at the border of a piece, so fewer bytes than ``size`` are not the end.

        Raises:
            NotPermitted, StorageFailed: the live file or a piece cannot be read.
        """
        if self._live < 0:
            return position, b""
        with _saying(self.path):
            return self._read(position, size)

    def _read(self, position: int, size: int) -> tuple[int, bytes]:
        if not self._piece_start <= position < self._piece_end:
            data = self._steady(lambda extent: self._read_live(extent, position, size))
            if data is not None:
                return data
        position = max(position, self._piece_start)
        size = min(size, self._piece_end - position)
        return position, os.pread(self._piece, size, position - self._piece_start)

    def _bounds(self, extent: _Extent) -> tuple[int, int]:
        end = max(extent.live_from, extent.base + os.fstat(self._live).st_size)
        return extent.live_from - sum(path.stat().st_size for path in self._pieces(extent)), end

    def _read_live(self, extent: _Extent, position: int, size: int) -> tuple[int, bytes] | None:
        """From the live file; None when the bytes are in a piece, which is then open."""
        if position < extent.live_from and self._open_piece(extent, position):
            return None
        position = max(position, extent.live_from)
        return position, os.pread(self._live, size, position - extent.base)

    def _pieces(self, extent: _Extent) -> Iterator[Path]:
        """Names of the pieces before the live file, newest first."""
        index, missing = extent.first, 0
        while missing <= extent.gap:
            path = logrecord.piece(self.path, index)
            index += 1
            missing += 1
            if path.exists():
                missing = 0
                yield path

    def _open_piece(self, extent: _Extent, position: int) -> bool:
        """Open the piece that holds ``position``, or the oldest one if none does."""
        self._drop_piece()
        end = extent.live_from
        for path in self._pieces(extent):
            fd = _open_quietly(path)
            if fd < 0:
                break  # renamed meanwhile, so this look does not count
            self._drop_piece()
            size = os.fstat(fd).st_size
            self._piece, self._piece_start, self._piece_end = fd, end - size, end
            if position >= end - size:
                break
            end -= size
        return self._piece_end > max(position, self._piece_start)

    def _drop_piece(self) -> None:
        if self._piece >= 0:
            os.close(self._piece)
        self._piece = -1
        self._piece_start = self._piece_end = 0

    def _steady(self, look: Callable[[_Extent], T]) -> T:
        """``look`` at a log that no rotation changes meanwhile."""
        for _ in range(_TRIES):
            record = logrecord.load(self._live, self.path)
            if record.step == logrecord.IDLE:
                with contextlib.suppress(FileNotFoundError):  # a piece was renamed
                    result = look(_Extent(record.base, record.base))
                    if logrecord.load(self._live, self.path) == record:
                        return result
            elif self._lock_shared():
                try:
                    return look(self._interrupted())
                finally:
                    fcntl.flock(self._live, fcntl.LOCK_UN)
            else:
                pause(_RETRY)
        return look(self._interrupted())

    def _lock_shared(self) -> bool:
        try:
            fcntl.flock(self._live, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _interrupted(self) -> _Extent:
        """The extent of a rotation that was killed half way (or ended just now)."""
        record = logrecord.load(self._live, self.path)
        if record.step == logrecord.IDLE:
            return _Extent(record.base, record.base)
        if record.step in (logrecord.SHIFT, logrecord.SHIFT_TRUNCATE):
            # The live file is whole. Once the highest new piece has its final name, new ones (whose bytes are also in
            # the live file) take the lowest numbers.
            shifting = logrecord.new_piece(self.path, record.files).exists()
            return _Extent(record.base, record.base, 1 if shifting else record.files + 1, record.files)
        cut = record.cut
        if record.step == logrecord.TRUNCATE:
            cut = logrecord.cut_by_now(self.path, record)
        valid = record.base + cut
        if record.step != logrecord.PUNCH and logrecord.head_removed(self._live, self.path, record):
            return _Extent(valid, valid)
        return _Extent(record.base, valid)


def _open_quietly(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return -1


@contextlib.contextmanager
def _saying(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind: type[SvcmgrError] = NotPermitted if isinstance(error, PermissionError) else StorageFailed
        text = f"cannot read {path}: {error.strerror} (errno {error.errno})"
        raise kind(text, path=str(path), errno=error.errno) from error


def pause(seconds: float) -> None:
    """Sleep; here so that readers need no clock."""
    select.select((), (), (), seconds)
