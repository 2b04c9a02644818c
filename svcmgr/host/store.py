"""What svcmgrd keeps on disk: the operator's intent, and the ledger of what happened.

**Intent** (``intent.json``): goals and enabled marks, one small file replaced atomically and fsynced *before* anything
is done. Commands that arrive together share one write. The previous content stays beside it as ``intent.json.1``; a
file that cannot be read is moved to quarantine and the previous one is used.

**Ledger** (``ledger.jsonl``): facts about processes, one JSON line each, appended with a single write(2) and not
fsynced: it has to survive the death of svcmgrd, not of the machine, since a process does not survive that either. A
torn or foreign line is skipped and counted. It is folded and rewritten at every start, and when it has grown.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from svcmgr.background import outlast
from svcmgr.errors import BadInput, StorageFailed
from svcmgr.fsutil import atomic_write, make_dir, read_limited, write_all
from svcmgr.host.facts import FILE_LIMIT, Fact, Intent, Life, read_facts
from svcmgr.paths import Layout

V = TypeVar("V")

#: The ledger is folded when it has this many bytes more than after the last fold.
_FOLD_AFTER = 4 * 1024 * 1024


def quarantine(layout: Layout, path: Path, stamp: float) -> Path:
    """Move an unreadable file of ours aside, never over another one. Raises StorageFailed."""
    make_dir(layout.quarantine, 0o700)
    target = layout.quarantine / f"{path.name}.{int(stamp)}"
    while target.exists():
        target = target.with_name(target.name + "+")
    try:
        path.rename(target)
    except OSError as error:
        raise StorageFailed(f"cannot move {path} to quarantine: {error.strerror} (errno {error.errno})") from error
    return target


_Waiting = tuple[asyncio.Future[None], Mapping[str, str | None], Mapping[str, bool | None], str]


class IntentStore:
    """Reads intent once; writes it whole, off the loop, many changes in one write."""

    def __init__(self, layout: Layout, now_utc: float) -> None:
        self.path = layout.state / "intent.json"
        self.previous = layout.state / "intent.json.1"
        self.troubles: list[str] = []
        self.intent = self._load(layout, now_utc)
        self._write_lock = asyncio.Lock()
        self._waiting: list[_Waiting] = []

    def _load(self, layout: Layout, now_utc: float) -> Intent:
        for path in (self.path, self.previous):
            try:
                return msgspec.json.decode(read_limited(path, FILE_LIMIT), type=Intent)
            except FileNotFoundError:
                continue
            except (msgspec.MsgspecError, BadInput, OSError, UnicodeDecodeError) as error:
                self.troubles.append(f"{path} is unreadable ({error})")
                with contextlib.suppress(StorageFailed):
                    self.troubles[-1] += f"; moved to {quarantine(layout, path, now_utc)}"
        return Intent()

    async def commit(
        self, goals: Mapping[str, str | None], enabled: Mapping[str, bool | None] | None = None, boot_id: str = ""
    ) -> None:
        """Make these changes durable; None forgets an entry.

        Changes that cannot be written are taken back, so memory never says more than the disk.

        Raises:
            StorageFailed: the file system refused; the intent on disk is the old one.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, goals, enabled or {}, boot_id))
        try:
            async with self._write_lock:
                if not future.done():
                    await self._commit_all()
            await future
        finally:  # when cancelled: what is not being written yet is not to be written, and nobody asks how it ended
            self._waiting = [one for one in self._waiting if one[0] is not future]
            if not future.cancel() and not future.cancelled():
                future.exception()

    async def _commit_all(self) -> None:
        """Write everything that is waiting as one new content; all of it succeeds or fails together."""
        batch, self._waiting = self._waiting, []
        new = self.intent
        for _, goals, enabled, boot_id in batch:
            new = Intent(boot_id or new.boot_id, _merge(new.goals, goals), _merge(new.enabled, enabled))
        if new == self.intent and self.path.exists():
            _answer(batch, None)
            return
        write = asyncio.get_running_loop().run_in_executor(None, self._write, msgspec.json.encode(new))
        try:
            # A write that has begun cannot be called back, and others wait for it: whoever is cancelled outlasts it.
            await outlast(write)
        finally:
            failure = write.exception()
            if failure is None:
                self.intent = new
            _answer(batch, failure)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.previous.unlink(missing_ok=True)
            os.link(self.path, self.previous)
        atomic_write(self.path, data, mode=0o600)


def _answer(batch: list[_Waiting], failure: BaseException | None) -> None:
    for future, *_ in batch:
        if future.done():
            continue
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(None)


def _merge(old: dict[str, V], changes: Mapping[str, V | None]) -> dict[str, V]:
    merged = {k: v for k, v in old.items() if k not in changes}
    merged.update({k: v for k, v in changes.items() if v is not None})
    return merged


class Ledger:
    """The last known facts of every service, and this svcmgrd's generation number."""

    def __init__(self, layout: Layout) -> None:
        self.path = layout.state / "ledger.jsonl"
        self.facts: dict[str, Fact] = {}
        self.generation = 1
        self.skipped = 0
        #: why the ledger cannot be written now, or ""
        self.trouble = ""
        self._fd = -1
        self._size = 0
        self._limit = 0
        #: the file may end within a line
        self._torn = False
        self._encode = msgspec.json.Encoder().encode

    def load(self) -> None:
        """Read what is there. Unreadable lines are skipped and counted. Raises StorageFailed on a bad file."""
        found = read_facts(self.path)
        self.facts, self.skipped, self.generation = found.facts, found.skipped, found.generation + 1

    def open(self) -> None:
        """Fold the file to what is known and keep it open for appending.

        Where it cannot be folded (a full disk) the file is appended to as it is, and ``trouble`` says why.

        Raises:
            StorageFailed: there is no ledger and none can be made.
        """
        lines = [self._encode(Life(self.generation)), *map(self._encode, self.facts.values())]
        data = b"\n".join(lines) + b"\n"
        try:
            atomic_write(self.path, data, mode=0o600, durable=False)
            self._torn = False
        except StorageFailed as error:
            if not self.path.is_file():
                raise
            self.trouble = f"cannot fold the ledger: {error.message}"
            self._torn = True
        self.close()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size
        self._limit = self._size * 2 + _FOLD_AFTER

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fact(self, key: str) -> Fact:
        """What is known of ``key``; change it and :meth:`write` it."""
        found = self.facts.get(key)
        if found is None:
            found = self.facts[key] = Fact(key)
        return found

    def write(self, fact: Fact) -> None:
        """Append ``fact``. A file system that refuses is remembered in ``trouble``; supervision goes on."""
        line = self._encode(fact) + b"\n"
        try:
            if self._size > self._limit:
                self.open()
            # What a refused write left of its line must not take the next one with it.
            write_all(self._fd, b"\n" + line if self._torn else line)
            self._torn = False
            self._size += len(line)
            self.trouble = ""
        except (OSError, StorageFailed) as error:
            self._torn = True
            self.trouble = f"cannot write the ledger {self.path}: {error}"

    def forget(self, key: str) -> None:
        """A removed service; its line goes at the next fold."""
        if self.facts.pop(key, None) is not None:
            self.write(Fact(key))
