"""The file of a keyring: readable by its owner alone, and replaced as a whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from svcmgr.conn.keyring import KEYRING_MAX, Keyring, parse, render
from svcmgr.errors import BadInput, NotPermitted
from svcmgr.fsutil import atomic_write

#: Permission bits that nobody but the owner may have on a file with a secret key.
FOREIGN_BITS = 0o077


def load(path: Path) -> Keyring:
    """Read a keyring.

    Owner and mode are those of the open file, so they cannot change between the look and the reading.

    Raises:
        BadInput: not there, not a regular file, over KEYRING_MAX bytes, not UTF-8, or see :func:`keyring.parse`.
        NotPermitted: others than its owner may read or write it, it is neither root's nor ours, or we may not read it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError as error:
        raise NotPermitted(f"cannot read keyring {path}: {error.strerror}", path=str(path)) from error
    except OSError as error:
        raise BadInput(f"cannot read keyring {path}: {error.strerror}", path=str(path), errno=error.errno) from error
    try:
        _check(path, os.fstat(fd))
        with open(fd, "rb", closefd=False) as file:
            data = file.read(KEYRING_MAX + 1)
    finally:
        os.close(fd)
    if len(data) > KEYRING_MAX:
        raise BadInput(f"cannot read keyring {path}: it is over {KEYRING_MAX} bytes", path=str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"cannot read keyring {path}: byte {error.start} is not UTF-8", path=str(path)) from error
    return parse(text, f"keyring {path}")


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"cannot read keyring {path}: not a regular file", path=str(path))
    mode = stat.S_IMODE(status.st_mode)
    if mode & FOREIGN_BITS:
        raise NotPermitted(
            f"cannot use keyring {path}: its mode is {mode:04o}, so others than its owner may get at the secret key; "
            f"chmod 600 it, and replace the key if somebody may have read it",
            path=str(path),
            mode=mode,
        )
    if status.st_uid not in (0, os.geteuid()):
        raise NotPermitted(
            f"cannot use keyring {path}: it belongs to uid {status.st_uid}, neither root nor us", path=str(path)
        )


def save(path: Path, keyring: Keyring) -> None:
    """Replace a keyring, mode 0600. Raises StorageFailed: the old one is unchanged."""
    atomic_write(path, render(keyring).encode(), mode=0o600)
