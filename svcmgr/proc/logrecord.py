"""Where a log is in its life: one small record beside its bytes.

Theory of operation. A service's log is one endless string of bytes; a byte's *position* counts from the
first byte ever written. The live file holds the newest part, ``NAME.1``, ``NAME.2`` ... hold what came
before it, with no gap between neighbours. So one number places everything: ``base``, the position of the live
file's first byte. ``NAME.1`` ends there, ``NAME.2`` ends where ``NAME.1`` begins, and so on.

The record also says how far a rotation has come, so that one killed at any instant is finished later:

====================  ==============================================================================
step                  what is true on disk
====================  ==============================================================================
idle                  live file whole; pieces in order; with files > 0 a copy was under way
shift                 the head [0, cut) is copied to ``.NAME.new.N``; pieces may be half renamed
punch                 the head is in the pieces; in the live file its first block may be a hole
collapse              the live file begins with a hole, or its head is gone already
shift-truncate        as *shift*, for file systems that cannot collapse
truncate              the head is in the pieces and will be cut off with ftruncate(2)
====================  ==============================================================================

The record lives in an extended attribute of the live file: it moves with the file, needs no second file, and
the journal of ext4 and xfs orders it with the collapse. Where attributes are refused it is a small file,
``.NAME.record``, tied to the live file by inode number.

Because ``base`` never decreases, a reader needs no lock: read the record, read the bytes, read the record
again; if both are the same and idle, the bytes belong to the positions asked for.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

from svcmgr.fsutil import atomic_write

ATTRIBUTE = "user.svcmgr.log"
IDLE = "idle"
SHIFT = "shift"
PUNCH = "punch"
COLLAPSE = "collapse"
SHIFT_TRUNCATE = "shift-truncate"
TRUNCATE = "truncate"
#: Most pieces one rotation may make, and most that may be kept.
MAX_FILES = 1000
_FAR = 1 << 62
STEPS = frozenset({IDLE, SHIFT, PUNCH, COLLAPSE, SHIFT_TRUNCATE, TRUNCATE})

_NO_ATTRIBUTES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})


class Record(NamedTuple):
    """``base`` and ``step``: see the module. ``cut``: bytes being removed from the live file; ``files``: new
    pieces that exist under names of work; ``last``: bytes of the newest of them."""

    base: int = 0
    step: str = IDLE
    cut: int = 0
    files: int = 0
    last: int = 0

    def encode(self) -> bytes:
        return f"1 {self.base} {self.step} {self.cut} {self.files} {self.last}".encode()


def decode(data: bytes) -> Record:
    """The record in ``data``; a record that cannot be understood counts as a log that starts now."""
    fields = data.decode("ascii", "replace").split()
    if len(fields) != 6 or fields[0] != "1" or fields[2] not in STEPS:
        return Record()
    try:
        base, cut, files, last = (int(fields[n]) for n in (1, 3, 4, 5))
    except ValueError:
        return Record()
    # The owner of a file may set its attributes: no number of his may make us work without end.
    sane = 0 <= base <= _FAR and 0 <= cut <= _FAR and 0 <= files <= MAX_FILES and 0 <= last <= _FAR
    return Record(base, fields[2], cut, files, last) if sane else Record()


def load(fd: int, path: Path) -> Record:
    """The record of the live file open as ``fd`` (its name is ``path``); a fresh one if there is none."""
    try:
        return decode(os.getxattr(fd, ATTRIBUTE))
    except OSError as error:
        if error.errno != errno.ENODATA and error.errno not in _NO_ATTRIBUTES:
            raise
    try:
        inode, _, rest = beside(path).read_bytes().partition(b" ")
    except FileNotFoundError:
        return Record()
    return decode(rest) if inode == b"%d" % os.fstat(fd).st_ino else Record()


def at_rest(path: Path) -> bool:
    """Whether no rotation of this log was interrupted; a quick look by name, False when in doubt."""
    try:
        record = decode(os.getxattr(path, ATTRIBUTE))
    except OSError as error:
        return (error.errno == errno.ENODATA or error.errno in _NO_ATTRIBUTES) and not beside(path).exists()
    return record == Record(record.base)


def store(fd: int, path: Path, record: Record) -> None:
    """Replace the record. Raises OSError or StorageFailed; the old record is then intact."""
    try:
        os.setxattr(fd, ATTRIBUTE, record.encode())
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
        atomic_write(beside(path), b"%d %s" % (os.fstat(fd).st_ino, record.encode()), durable=False)


def beside(path: Path) -> Path:
    """The record file of a log whose file system has no attributes."""
    return path.with_name(f".{path.name}.record")


def piece(path: Path, index: int) -> Path:
    """``NAME.index``; 1 is the newest."""
    return path.with_name(f"{path.name}.{index}")


def new_piece(path: Path, index: int) -> Path:
    """``.NAME.new.index``: what will be ``NAME.index``."""
    return path.with_name(f".{path.name}.new.{index}")


def cut_by_now(path: Path, record: Record) -> int:
    """How many bytes of the live file's head are safe in pieces, in step *truncate*.

    The newest piece may have taken more than the record says: what came while it was being renamed.
    """
    try:
        return record.cut + max(0, piece(path, 1).stat().st_size - record.last)
    except FileNotFoundError:
        return record.cut


def head_removed(fd: int, path: Path, record: Record) -> bool:
    """Whether the head is gone already, in step *collapse* or *truncate*."""
    size = os.fstat(fd).st_size
    if record.step == COLLAPSE:
        # At least one byte follows the head before the collapse, so a shorter file has been collapsed.
        return size <= record.cut or _first_data(fd, size) == 0
    cut = cut_by_now(path, record)
    return size < cut or not _same_as_newest(fd, path, cut)


def _first_data(fd: int, size: int) -> int:
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:  # nothing but hole
            raise
        return size


def _same_as_newest(fd: int, path: Path, cut: int) -> bool:
    # Only reached after a kill between two adjacent system calls, on a file system without collapse.
    try:
        with piece(path, 1).open("rb") as newest:
            at = cut - os.fstat(newest.fileno()).st_size
            if at < 0:
                return False
            while chunk := newest.read(1 << 18):
                if os.pread(fd, len(chunk), at) != chunk:
                    return False
                at += len(chunk)
    except FileNotFoundError:
        return False
    return True
