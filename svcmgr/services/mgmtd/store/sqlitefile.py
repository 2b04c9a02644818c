"""The file of a SQLite store: made whole or not at all, looked at before it is trusted.

- A new file is made under another name and linked to its own when it is complete, so that an empty or half file of the
  right name is damage, never a store that a crash left unfinished. Two that make it at once get the same file.
- Nobody but its owner may read or write it or what SQLite puts beside it (``-wal``, ``-shm``, which get the file's own
  mode): it holds the tokens of a cluster. What others could have written is refused, not repaired.
- Opening runs SQLite's integrity check and compares the schema with ours; a trigger in a file is a stranger's program.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from svcmgr.errors import NotPermitted, StorageFailed, SvcmgrError, Unsupported
from svcmgr.fsutil import fsync_dir
from svcmgr.services.mgmtd.store.faults import StoreCorrupt, StoreFull, StoreLocked, StoreUncertain

#: In the header of the file (sqlite.org/pragma.html#pragma_application_id): "svmg".
APPLICATION = 0x73766D67
FORMAT = 1
#: How long a write or an open waits for another process to let go of the lock, seconds.
BUSY_S = 5.0

SCHEMA = (
    "CREATE TABLE entry (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID",
    "CREATE TABLE state (only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL) STRICT",
)

_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 16777216",  # a log that grew under a long read is cut again
)
#: sqlite.org/rescode.html: an fsync failed, after which nobody knows what is on the disk.
_UNCERTAIN = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


@contextlib.contextmanager
def translated(path: Path, what: str) -> Iterator[None]:
    """Raises what SQLite raises as the faults of a store."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path, what) from error


def translate(error: sqlite3.Error, path: Path, what: str) -> SvcmgrError:
    """The fault of a store that an error of SQLite is."""
    code = getattr(error, "sqlite_errorcode", 0)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    start = f"cannot {what} the store {path}: {error} ({name})"
    codes = {code, code & 0xFF}  # the extended code and its primary one
    if codes & _UNCERTAIN:
        return StoreUncertain(f"{start}; look at the disk, then start mgmtd again", path=str(path), sqlite=name)
    if codes & _FULL:
        return StoreFull(f"{start}; make room on the file system", path=str(path), sqlite=name)
    if codes & _CORRUPT:
        return StoreCorrupt(f"{start}; restore a backup, or import an export", path=str(path), sqlite=name)
    if codes & _LOCKED:
        return StoreLocked(f"{start}; another process holds its lock", path=str(path), sqlite=name)
    return StorageFailed(f"{start}; see that mgmtd may write there", path=str(path), sqlite=name)


def prepare(path: Path) -> None:
    """Make the file if there is none, and refuse one that is not ours alone.

    Raises:
        NotPermitted: another user owns it, or may read or write it; or it is not a regular file.
        StoreCorrupt: it is empty, or lost while its log is still there.
        StorageFailed, StoreFull: it cannot be made or looked at.
    """
    try:
        if not os.path.lexists(path):
            if os.path.lexists(f"{path}-wal"):
                raise StoreCorrupt(
                    f"cannot open the store {path}: it is gone, but its log {path.name}-wal is there; put it back",
                    path=str(path),
                )
            _make(path)
        for suffix in ("", "-wal", "-shm", "-journal"):
            _check_file(Path(f"{path}{suffix}"))
        if not path.stat().st_size:
            raise StoreCorrupt(f"cannot open the store {path}: the file is empty; restore a backup", path=str(path))
    except OSError as error:
        raise StorageFailed(
            f"cannot open the store {path}: {error.strerror} (errno {error.errno})", path=str(path), errno=error.errno
        ) from error


def _check_file(path: Path) -> None:
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(facts.st_mode):
        raise NotPermitted(f"cannot use {path}: not a regular file; remove it", path=str(path))
    if facts.st_uid != os.geteuid():
        raise NotPermitted(
            f"cannot use {path}: user {facts.st_uid} owns it; chown it to {os.geteuid()}", path=str(path)
        )
    if facts.st_mode & 0o077:
        mode = stat.S_IMODE(facts.st_mode)
        raise NotPermitted(f"cannot use {path}: mode {mode:04o} lets others in; chmod 600 it", path=str(path))


def _make(path: Path) -> None:
    with contextlib.suppress(FileExistsError), _new_file(path) as new:  # somebody else's is as good
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            _fill(connection)
        finally:
            connection.close()


def copy(path: Path, target: Path) -> None:
    """Copy the store at ``path``, as it is at one moment, to the new file ``target``.

    Raises:
        FileExistsError, OSError: as link(2), open(2) and fsync(2) do.
        StorageFailed and below: SQLite cannot read the one or write the other.
    """
    with _new_file(target) as new, contextlib.closing(connect(path)) as source:
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            source.backup(connection)
            connection.execute("PRAGMA journal_mode = WAL")  # a copy of a file in WAL mode is one, say so once
            inspect(connection, new)
        finally:
            connection.close()


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """An empty file beside ``path`` that gets this name, durably, when the block ends well.

    Raises FileExistsError if the name is taken by then, OSError, and what SQLite raises as faults of the store.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    _unlink_all(new)  # of one that had our numbers and crashed
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with translated(path, "make"):
            yield new
        os.fsync(fd)
        os.link(new, path)
        fsync_dir(path.parent)
    finally:
        os.close(fd)
        _unlink_all(new)


def _unlink_all(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def _fill(connection: sqlite3.Connection) -> None:
    for statement in (
        "PRAGMA synchronous = FULL",
        "BEGIN",
        *SCHEMA,
        "INSERT INTO state VALUES (1, 0)",
        f"PRAGMA application_id = {APPLICATION}",
        f"PRAGMA user_version = {FORMAT}",
        "COMMIT",
        "PRAGMA journal_mode = WAL",  # stays with the file
    ):
        connection.execute(statement)


def connect(path: Path) -> sqlite3.Connection:
    """A connection for any thread, one at a time. Raises the faults of a store."""
    with translated(path, "open"):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection


def inspect(connection: sqlite3.Connection, path: Path) -> None:
    """Look at all of the file.

    Raises:
        StoreCorrupt: it is damaged, or not a store of mgmtd.
        Unsupported: a newer version of mgmtd wrote it.
        StorageFailed: it cannot be written.
    """
    with translated(path, "open"):
        if _fact(connection, "PRAGMA application_id") != APPLICATION:
            raise StoreCorrupt(f"cannot open the store {path}: it is a database, but not of mgmtd", path=str(path))
        if (found := _fact(connection, "PRAGMA user_version")) != FORMAT:
            raise Unsupported(f"cannot open the store {path}: it has format {found}, this mgmtd knows {FORMAT}")
        if (report := _fact(connection, "PRAGMA integrity_check(1)")) != "ok":
            raise StoreCorrupt(f"cannot open the store {path}: {report}; restore a backup", path=str(path))
        rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
        if [sql for (sql,) in rows] != list(SCHEMA):
            raise StoreCorrupt(f"cannot open the store {path}: it holds other tables than a store's", path=str(path))
        if _fact(connection, "SELECT count(*) FROM state") != 1:
            raise StoreCorrupt(f"cannot open the store {path}: its revision is missing", path=str(path))
        connection.execute("BEGIN IMMEDIATE")  # SQLite opens what it cannot write for reading, and says so only now
        connection.execute("ROLLBACK")


def _fact(connection: sqlite3.Connection, statement: str) -> object:
    row = connection.execute(statement).fetchone()
    return row[0] if row else None
