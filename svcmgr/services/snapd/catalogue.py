"""The snapshots of one volume: records on disk, all of them in memory.

What is in the store directory, ID being a snapshot's:

=================  ==================================================================================
``ID.json``        the record. Its appearing is what makes a snapshot exist
``ID.taking``      data of ID is being made; written first, removed when the record is there
``ID.deleting``    what was the record: data of ID is to be removed
``quarantine/``    records that could not be read; their data is kept
=================  ==================================================================================

So data without record is ours to remove exactly where ``taking`` or ``deleting`` says so. Complete data that no file
here speaks of is reported and kept: it may be the snapshots of a store that was lost.

One thread changes the records at a time; memory is replaced as a whole, so that readers need no lock. What is doomed
may grow by one thread while another one erases.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import os
import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from svcmgr.errors import AlreadyExists, BadInput, StorageFailed, UnknownSnapshot
from svcmgr.fsutil import fsync_dir, make_dir
from svcmgr.services.snapd import recordfile
from svcmgr.volume import Record

QUARANTINE = "quarantine"
_RECORD = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(json|taking|deleting)\Z")
#: Most names of one request, most globs among them, and most characters of one. Any user may ask.
_NAMES_MAX, _GLOBS_MAX, _NAME_LENGTH = 10_000, 32, 256


class Catalogue:
    """Make it, ``load`` it, then ask it. ``store`` is made if it is missing."""

    def __init__(self, store: Path, volume_id: str) -> None:
        self._store = store
        self._volume_id = volume_id
        self._by_name: Mapping[str, Record] = {}
        self._records: tuple[Record, ...] = ()
        self.doomed: frozenset[str] = frozenset()
        self._dooming = threading.Lock()
        self.quarantined: tuple[str, ...] = ()

    def load(self) -> None:
        """Read all records. One that cannot be read or cannot be ours is quarantined.

        Raises:
            StorageFailed: the store directory cannot be made or read.
        """
        make_dir(self._store, 0o700)
        found: dict[str, Record] = {}
        doomed = set()
        for name in sorted(self._listed()):
            if not (match := _RECORD.match(name)):
                continue
            if match[2] == "json":
                self._load_one(name, match[1], found)
            else:
                doomed.add(match[1])
        self.doomed = frozenset(doomed - {record.id for record in found.values()})
        for name in doomed - self.doomed:  # the record was written, only the mark is left
            self._unlink(f"{name}.taking")
        self._remember(found)

    def _listed(self) -> list[str]:
        try:
            return os.listdir(self._store)
        except OSError as error:
            raise _failed(self._store, "read", error) from error

    def _load_one(self, name: str, snapshot_id: str, found: dict[str, Record]) -> None:
        try:
            record = recordfile.read(self._store / name)
            if record.id != snapshot_id or record.volume_id != self._volume_id:
                raise BadInput(f"cannot use record {name}: it is of {record.id} of volume {record.volume_id}")
            if record.name in found:
                raise BadInput(f"cannot use record {name}: {found[record.name].id} is called {record.name!r}, too")
        except (BadInput, OSError) as error:
            self._quarantine(name, str(error))
        else:
            found[record.name] = record

    def _quarantine(self, name: str, why: str) -> None:
        make_dir(self._store / QUARANTINE, 0o700)
        with contextlib.suppress(OSError):  # what cannot be moved is looked at again next time
            os.rename(self._store / name, self._store / QUARANTINE / name)
        self.quarantined = (*self.quarantined, f"{name}: {why}")

    # --- questions

    @property
    def records(self) -> tuple[Record, ...]:
        """All of them, oldest first."""
        return self._records

    @property
    def names(self) -> Collection[str]:
        return self._by_name.keys()

    def get(self, name: str) -> Record:
        """Raises UnknownSnapshot."""
        record = self._by_name.get(name)
        if record is None:
            raise _unknown(name, self._by_name)
        return record

    def match(self, names: Sequence[str]) -> list[Record]:
        """The records that any of ``names`` means, by name or glob (fnmatch, case counts), oldest first.

        Raises:
            UnknownSnapshot: one of them means none.
            BadInput: too many of them, or one is too long.
        """
        globs = sum(map(_is_glob, names))
        if len(names) > _NAMES_MAX or globs > _GLOBS_MAX or any(len(name) > _NAME_LENGTH for name in names):
            raise BadInput(
                f"cannot look for {len(names)} names: give at most {_NAMES_MAX}, {_GLOBS_MAX} of them globs, "
                f"of at most {_NAME_LENGTH} characters"
            )
        meant: set[str] = set()
        for name in dict.fromkeys(names):
            meant.update(self._meant(name))
        return [record for record in self._records if record.name in meant]

    def _meant(self, name: str) -> Iterable[str]:
        if name in self._by_name:
            return (name,)
        found = [known for known in self._by_name if fnmatch.fnmatchcase(known, name)] if _is_glob(name) else []
        if not found:
            raise _unknown(name, self._by_name)
        return found

    def check_free(self, name: str) -> None:
        """Raises AlreadyExists."""
        if name in self._by_name:
            raise AlreadyExists(
                f"cannot take snapshot {name!r}: there is one of that name; choose another, or delete it", name=name
            )

    # --- changes, one at a time

    def begin(self, snapshot_id: str) -> None:
        """Data of this id will be made. Raises StorageFailed."""
        path = self._store / f"{snapshot_id}.taking"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise _failed(path, "write", error) from error

    def commit(self, record: Record) -> None:
        """The snapshot exists when this returns. Raises StorageFailed: it does not."""
        recordfile.write(self._store / f"{record.id}.json", record)
        self._unlink(f"{record.id}.taking")
        self._remember({**self._by_name, record.name: record})

    def abandon(self, snapshot_id: str) -> None:
        """What was begun will not be; its data is doomed."""
        with self._dooming:
            self.doomed |= {snapshot_id}

    def activate(self, record: Record, activated: bool) -> Record:
        """The record as it is then. Raises StorageFailed: it is as it was."""
        if record.activated == activated:
            return record
        changed = attrs.evolve(record, activated=activated)
        recordfile.write(self._store / f"{record.id}.json", changed)
        self._remember({**self._by_name, record.name: changed})
        return changed

    def delete(self, record: Record) -> None:
        """The snapshot does not exist any more when this returns; its data is doomed. Raises StorageFailed."""
        path = self._store / f"{record.id}.json"
        try:
            os.rename(path, path.with_suffix(".deleting"))
            fsync_dir(self._store)
        except OSError as error:
            raise _failed(path, "remove", error) from error
        self.abandon(record.id)
        self._remember({name: other for name, other in self._by_name.items() if name != record.name})

    def erased(self, snapshot_id: str) -> None:
        """The data of a doomed one is gone from every brick."""
        self._unlink(f"{snapshot_id}.taking")
        self._unlink(f"{snapshot_id}.deleting")
        with self._dooming:
            self.doomed -= {snapshot_id}

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._store / name)

    def _remember(self, records: Mapping[str, Record]) -> None:
        self._by_name = records
        self._records = tuple(sorted(records.values(), key=lambda record: (record.created, record.id)))


def _is_glob(name: str) -> bool:
    return not {"*", "?", "["}.isdisjoint(name)


def _unknown(name: str, known: Iterable[str]) -> UnknownSnapshot:
    near = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {', '.join(near)}?" if near else "'svcmgr snapshot list VOL' shows those there are"
    return UnknownSnapshot(f"cannot find snapshot {name[:100]!r}: {hint}", name=name[:100], near=near)


def _failed(path: Path, what: str, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"cannot {what} {path}: {error.strerror} (errno {error.errno})", path=str(path), errno=error.errno
    )
