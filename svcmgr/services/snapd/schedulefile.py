"""``schedules.json``: the schedules of one volume and what each remembers.

Replaced whole and fsynced. A file that cannot be read is moved to quarantine, so that it can be looked at, and the
volume begins without schedules; snapshots are not touched by that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from svcmgr.errors import BadInput, SvcmgrError
from svcmgr.fsutil import atomic_write, make_dir, read_limited
from svcmgr.services.snapd.retention import make_keep
from svcmgr.services.snapd.schedule import SCHEDULES_MAX, Entry, Schedule

#: A hundred entries are some 60 KiB.
_FILE_LIMIT = 1 << 20
_FORMAT = 1
#: 9999-12-31T23:59:59Z, the last moment that can be shown.
_LAST_MOMENT = 253_402_300_799.0


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry; the fields are those of schedule.Schedule and schedule.Entry."""

    name: str
    every: int
    keep: dict[str, int]
    anchor: float
    activate: bool | None = None
    last_run: float | None = None
    last_result: str = ""
    failures: int = 0
    pending: str = ""


class _File(msgspec.Struct, frozen=True):
    format: int
    schedules: list[_Stored]


class ScheduleFile:
    """The file in directory ``store``; ``trouble`` says what was wrong with it when it was read, or ""."""

    def __init__(self, store: Path) -> None:
        self.path = store / "schedules.json"
        self._quarantine = store / "quarantine"
        self.trouble = ""

    def load(self, now_utc: float) -> list[Entry]:
        """What is stored; nothing where there is no file or it cannot be read. ``now_utc`` names the quarantined."""
        try:
            return _decode(read_limited(self.path, _FILE_LIMIT))
        except FileNotFoundError:
            return []
        except (msgspec.MsgspecError, SvcmgrError, OSError, UnicodeDecodeError) as error:
            self.trouble = f"cannot use {self.path}: {error}; this volume has no schedules, set them again"
            with contextlib.suppress(SvcmgrError, OSError):
                self.trouble += f"; the file was moved to {self._move_away(now_utc)}"
            return []

    def write(self, entries: Iterable[Entry]) -> None:
        """Replace the file. Blocks for an fsync. Raises StorageFailed; the old content is then in force."""
        atomic_write(self.path, _encode(entries), mode=0o600)

    def _move_away(self, now_utc: float) -> Path:
        make_dir(self._quarantine, 0o700)
        target = self._quarantine / f"{self.path.name}.{int(now_utc)}"
        while target.exists():
            target = target.with_name(target.name + "+")
        self.path.rename(target)
        return target


def _encode(entries: Iterable[Entry]) -> bytes:
    stored = [
        _Stored(
            name=entry.schedule.name,
            every=entry.schedule.every,
            keep=entry.schedule.keep.rules(),
            anchor=entry.anchor,
            activate=entry.schedule.activate,
            last_run=entry.last_run,
            last_result=entry.last_result,
            failures=entry.failures,
            pending=entry.pending,
        )
        for entry in entries
    ]
    return msgspec.json.encode(_File(_FORMAT, stored))


def _decode(data: bytes) -> list[Entry]:
    """Raises msgspec.MsgspecError or BadInput."""
    file = msgspec.json.decode(data, type=_File)
    if file.format != _FORMAT:
        raise BadInput(f"cannot read format {file.format}, only {_FORMAT}")
    entries = [
        Entry(
            Schedule(one.name, one.every, make_keep(one.keep), one.activate),
            anchor=one.anchor,
            last_run=one.last_run,
            last_result=one.last_result,
            failures=max(0, one.failures),
            pending=one.pending,
        )
        for one in file.schedules
    ]
    if not all(0 <= moment <= _LAST_MOMENT for one in file.schedules for moment in (one.anchor, one.last_run or 0.0)):
        raise BadInput("cannot use a moment before 1970 or after 9999")
    if len({entry.schedule.name for entry in entries}) < len(entries) or len(entries) > SCHEDULES_MAX:
        raise BadInput(f"cannot use {len(entries)} schedules: names must differ, and {SCHEDULES_MAX} is the limit")
    return entries
