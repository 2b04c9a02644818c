"""The volumes on disk: one file for each, durable before anything acts on a change.

A file is replaced whole and fsynced (:func:`svcmgr.fsutil.atomic_write`), off the loop. What is in memory is set after
the disk has it, so memory never says more than the disk, and a file system that refuses leaves the old state in force
in both. Writes of one volume happen one after the other, those of different volumes side by side.

At the start each file is read on its own, and none keeps the others from loading. A file that cannot be one of ours
(damaged, too large, named after another volume, of bricks that an older volume has) is moved to quarantine. A file
that a later version wrote, and one that cannot be read now, stay where they are and are never written over.
"""

from __future__ import annotations

import asyncio
import os
import re
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

from svcmgr.background import outlast
from svcmgr.errors import AlreadyExists, BadInput, Busy, StorageFailed, UnknownVolume, Unsupported
from svcmgr.fsutil import atomic_write, fsync_dir, make_dir
from svcmgr.host.store import quarantine
from svcmgr.host.volume_file import SUFFIX, encode, read
from svcmgr.paths import Layout
from svcmgr.volume import Volume, check_bricks, check_mount
from svcmgr.volume.checks import ancestors, holder
from svcmgr.volume.options import MOUNT

#: What atomic_write leaves when the machine dies under it.
_UNFINISHED = re.compile(r"\..+\.json\.[0-9]+\.tmp\Z")


class VolumeStore:
    """Reads all volumes once; then writes one at a time, off the loop.

    ``volumes`` by name is replaced whole with every change, so whoever walks over it sees one moment. ``invalid`` maps
    a name to the reason why its file is not among them, ``troubles`` are the sentences for the log of this start.

    Raises:
        StorageFailed: the directory cannot be read, so that nobody knows which volumes there are.
    """

    def __init__(self, layout: Layout, now_utc: float) -> None:
        self.directory = layout.state / "volumes"
        self.volumes: Mapping[str, Volume] = {}
        self.invalid: dict[str, str] = {}
        self.troubles: list[str] = []
        self._layout = layout
        self._now = now_utc
        #: files that are there and must stay as they are
        self._untouchable: set[Path] = set()
        #: what is being written now, by name
        self._pending: dict[str, Volume] = {}
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._load()

    # --- at the start --------------------------------------------------------------------------------------

    def _load(self) -> None:
        found: dict[str, Volume] = {}
        for path in self._files():
            try:
                volume = read(path)
            except Unsupported as error:
                self._leave(path, error.message)
            except OSError as error:
                self._leave(path, f"it cannot be read: {error.strerror} (errno {error.errno})")
            except BadInput as error:
                self._set_aside(path, error.message)
            else:
                found[volume.name] = volume
        # The older of two that cannot both be right is the one that somebody relies on.
        self._take_in(sorted(found.values(), key=lambda volume: (volume.created, volume.name)))

    def _take_in(self, volumes: list[Volume]) -> None:
        taken = _Taken()
        kept = {}
        for volume in volumes:
            if conflict := taken.take(volume):
                self._set_aside(self._path(volume.name), conflict)
            else:
                kept[volume.name] = volume
        self.volumes = dict(sorted(kept.items()))

    def _files(self) -> list[Path]:
        try:
            names = sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageFailed(
                f"cannot read {self.directory}: {error.strerror} (errno {error.errno}); "
                "without it nobody knows which volumes there are",
                path=str(self.directory),
            ) from error
        files = []
        for name in names:
            path = self.directory / name
            if _UNFINISHED.match(name):
                self._drop_unfinished(path)
            elif not name.endswith(SUFFIX):
                self._set_aside(path, "it is not the file of a volume")
            else:
                files.append(path)
        return files

    def _drop_unfinished(self, path: Path) -> None:
        # A write that a crash cut off: nobody was told that it was done.
        try:
            path.unlink()
        except OSError as error:
            self.troubles.append(f"cannot remove {_shown(path)}, left by a crash: {error.strerror}")

    def _set_aside(self, path: Path, reason: str) -> None:
        try:
            where = f"moved to {_shown(quarantine(self._layout, path, self._now))}"
        except StorageFailed as error:
            self._leave(path, f"{reason}; {error.message}")
        else:
            self._report(path, f"{reason}; {where}")

    def _leave(self, path: Path, reason: str) -> None:
        self._untouchable.add(path)
        self._report(path, reason)

    def _report(self, path: Path, reason: str) -> None:
        text = f"cannot use {_shown(path)}: {reason}"
        self.invalid[_name_of(path)] = text
        self.troubles.append(text)

    # --- changes -------------------------------------------------------------------------------------------

    async def commit(self, volume: Volume) -> None:
        """Make ``volume`` durable, new or changed.

        Raises:
            AlreadyExists: its name, its id, its mount point or one of its bricks is taken.
            Busy: it was changed meanwhile; what ``volume`` was made from is not the newest state any more.
            StorageFailed: the file system refused; the old state is in force.
        """
        lock = self._lock(volume.name)
        async with lock:
            self._admit(volume)
            self._pending[volume.name] = volume
            try:
                await self._carry_out(lambda: self._write(volume), lambda: self._put(volume))
            finally:
                del self._pending[volume.name]

    async def remove(self, name: str) -> None:
        """Forget a volume: its file is gone when this returns.

        Raises:
            UnknownVolume: there is none of that name.
            StorageFailed: the file system refused. ``volumes`` tells whether it is still there; when not, it may be
                back after a power failure.
        """
        lock = self._lock(name)
        async with lock:
            if name not in self.volumes:
                raise UnknownVolume(f"cannot delete volume {name!r}: {self.invalid.get(name, 'there is none')}")
            await self._carry_out(lambda: self._unlink(name), lambda: self._drop(name))
            await self._carry_out(lambda: _sync(self.directory))

    def _lock(self, name: str) -> asyncio.Lock:
        # Held by whoever uses it and by nobody else, so there are never more than changes in progress.
        return self._locks.setdefault(name, asyncio.Lock())

    def _admit(self, volume: Volume) -> None:
        """Compare with all others, also with those that are being written just now."""
        if self._path(volume.name) in self._untouchable:
            raise AlreadyExists(f"cannot write volume {volume.name}: {self.invalid[volume.name]}")
        present = self.volumes.get(volume.name)
        if present is not None and present.id != volume.id:
            raise AlreadyExists(f"cannot create volume {volume.name}: it exists already", name=volume.name)
        if present is not None and present.version >= volume.version:
            raise Busy(
                f"cannot change volume {volume.name} to version {volume.version}: it was changed meanwhile and has "
                f"version {present.version}; try again",
                name=volume.name,
            )
        others = {**self.volumes, **self._pending}
        others.pop(volume.name, None)
        if twin := next((other for other in others.values() if other.id == volume.id), None):
            raise AlreadyExists(f"cannot write volume {volume.name}: volume {twin.name} has its id {volume.id}")
        if present is None or present.bricks != volume.bricks:
            check_bricks(volume, others.values())
        if present is None or present.options.get(MOUNT) != volume.options.get(MOUNT):
            check_mount(volume, others.values())

    async def _carry_out(self, work: Callable[[], None], then: Callable[[], None] = lambda: None) -> None:
        """Do ``work`` in a thread, and ``then`` here if it went well.

        Work that has begun cannot be called back: whoever is cancelled outlasts it, and memory follows the disk.
        """
        doing = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            await outlast(doing)
        finally:
            if doing.exception() is None:
                then()
        doing.result()

    def _put(self, volume: Volume) -> None:
        self.volumes = {**self.volumes, volume.name: volume}
        self.invalid.pop(volume.name, None)

    def _drop(self, name: str) -> None:
        self.volumes = {key: volume for key, volume in self.volumes.items() if key != name}

    # --- in a thread ---------------------------------------------------------------------------------------

    def _write(self, volume: Volume) -> None:
        if not self.directory.is_dir():
            make_dir(self.directory, 0o700)
            _sync(self.directory.parent)
        atomic_write(self._path(volume.name), encode(volume), mode=0o600)

    def _unlink(self, name: str) -> None:
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(
                f"cannot delete {path}: {error.strerror} (errno {error.errno}); the volume is still there",
                path=str(path),
                errno=error.errno,
            ) from error

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}{SUFFIX}"


class _Taken:
    """What of many volumes has an owner: each further one is compared with all of them in one look per brick.

    :func:`check_bricks` compares one with all; for every one of a thousand that would take seconds.
    """

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._bricks: dict[str, str] = {}
        self._above: dict[str, str] = {}

    def take(self, volume: Volume) -> str:
        """Add ``volume`` unless its id or a brick is taken: then say so."""
        if volume.id in self._ids:
            return f"it has the id of volume {self._ids[volume.id]}"
        for brick in volume.bricks:
            above = holder(brick, self._bricks)
            owner = self._bricks[above] if above else self._above.get(brick)
            if owner:
                return f"its brick {brick} overlaps one of volume {owner}"
        self._ids[volume.id] = volume.name
        for brick in volume.bricks:
            self._bricks[brick] = volume.name
            self._above.update(dict.fromkeys(ancestors(brick), volume.name))
        return ""


def _sync(directory: Path) -> None:
    try:
        fsync_dir(directory)
    except OSError as error:
        raise StorageFailed(
            f"cannot write {directory} to disk: {error.strerror} (errno {error.errno})", path=str(directory)
        ) from error


def _name_of(path: Path) -> str:
    return _shown(path.name.removesuffix(SUFFIX) or path.name)


def _shown(path: Path | str) -> str:
    """A name as text that can be sent: bytes that are not UTF-8 are shown as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
