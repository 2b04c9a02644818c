"""When a schedule takes its next snapshot.

Theory of operation. The intervals of a schedule are counted from Monday 1970-01-05T00:00:00Z, so ``1h`` is due at the
full hour, ``1d`` at midnight and ``1w`` on Monday, all in UTC. A schedule remembers its *anchor*: the moment up to
which everything is settled. It is due when a boundary of its interval lies between the anchor and now, and settling
moves the anchor to now. Three things follow without being asked for. However many boundaries passed while the host was
off or slept, one run makes up for them. A clock that is set forward causes one run. A new schedule, whose anchor is the
moment it was made, waits for its first boundary.

A clock that is set back leaves the anchor in the future. Up to one interval that is left as it is: the next boundary
after it comes, and none comes twice. Further than that the schedule would stand still, so the anchor becomes now. Since
the wall clock may be set at any time, whoever drives this looks at it at least every LOOK_S monotonic seconds.

A run that failed for a reason that passes (RETRIED) is tried again after a delay that grows, but no later than the next
boundary; any other failure waits for the boundary. The anchor moves at the *end* of a run, failed or not, so that a
long run is never followed by the next one at once.

What is to be done is written down before it is done: an entry carries the name of the snapshot being taken
(``pending``). Whoever loads such an entry after a crash says whether that snapshot is there (:meth:`Scheduler.resume`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import attrs

from svcmgr import paths
from svcmgr.conn.retry import Retry, Rng
from svcmgr.errors import AlreadyExists, BadInput, Busy, LowSpace, StorageFailed, UnknownSchedule
from svcmgr.services.snapd.retention import DAY_S, MONDAY, WEEK_S, Keep
from svcmgr.volume.civil import civil

#: The wall clock is looked at least this often, in monotonic seconds.
LOOK_S = 60.0
#: A steered clock may reach a boundary a little later than was computed; seconds between two looks at it.
_LEAST_S = 0.005

EVERY_MIN_S = 10
EVERY_MAX_S = 366 * DAY_S
SCHEDULES_MAX = 100
#: A snapshot's name has at most 100 characters, and a stamp of 21 is appended to the schedule's.
NAME_MAX = 64
#: Failures of a kind that passes. A name that is taken does, because the next attempt has another stamp.
RETRIED = frozenset({LowSpace.code, Busy.code, StorageFailed.code, AlreadyExists.code})
#: Delays between attempts, seconds.
RETRY = Retry(first=30.0, factor=2.0, cap=3600.0)
#: ``last_result`` is for people, and no longer than this.
_RESULT_MAX = 500

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": WEEK_S}


def parse_every(text: str) -> int:
    """``15m`` as seconds; the units are s, m, h, d and w.

    Raises:
        BadInput: not of that form, or outside EVERY_MIN_S to EVERY_MAX_S.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text.strip())
    if match is None:
        raise BadInput(f"cannot repeat every {text[:50]!r}: write a number and a unit, such as 30s, 15m, 1h, 1d or 1w")
    seconds = int(match[1]) * _UNITS[match[2]]
    if not EVERY_MIN_S <= seconds <= EVERY_MAX_S:
        raise BadInput(f"cannot repeat every {text.strip()}: from {EVERY_MIN_S}s to {EVERY_MAX_S // DAY_S}d is allowed")
    return seconds


def every_text(seconds: int) -> str:
    """``seconds`` in the largest unit that divides them; ``parse_every`` reads it back."""
    unit, size = max(((u, s) for u, s in _UNITS.items() if seconds % s == 0), key=lambda pair: pair[1])
    return f"{seconds // size}{unit}"


def stamp(utc: float) -> str:
    """A moment as the end of a snapshot's name: ``2026-11-26T20-00-00Z``; fractions of a second are dropped."""
    at = civil(utc)
    return f"{at.year:04}-{at.month:02}-{at.day:02}T{at.hour:02}-{at.minute:02}-{at.second:02}Z"


@attrs.frozen
class Moment:
    """Now, on both clocks. ``utc`` may step, ``monotonic`` does not."""

    utc: float
    monotonic: float


@attrs.frozen
class Schedule:
    """What the operator asked for. ``every`` in seconds; ``activate`` None: as the volume's option says.

    Raises:
        BadInput: a name that cannot be one, an interval out of bounds.
    """

    name: str
    every: int
    keep: Keep
    activate: bool | None = None

    def __attrs_post_init__(self) -> None:
        paths.check_name(self.name, "schedule name")
        if len(self.name) > NAME_MAX:
            size = len(self.name)
            raise BadInput(
                f"cannot use {self.name[:20]!r}... as schedule name: {size} characters, the limit is {NAME_MAX}"
            )
        if not EVERY_MIN_S <= self.every <= EVERY_MAX_S:
            raise BadInput(f"cannot repeat every {self.every} s: from {EVERY_MIN_S} to {EVERY_MAX_S} is allowed")

    @property
    def origin(self) -> str:
        """What the snapshots of this schedule carry as their origin."""
        return f"schedule:{self.name}"

    def boundary_after(self, utc: float) -> float:
        """The first whole multiple of the interval that is later than ``utc``."""
        return MONDAY + (math.floor((utc - MONDAY) / self.every) + 1) * float(self.every)


@attrs.frozen
class Entry:
    """A schedule and its memory, as it is stored. Times are UTC seconds.

    ``anchor``: everything up to here is settled. ``failures``: in a row. ``pending``: the snapshot being taken.
    """

    schedule: Schedule
    anchor: float
    last_run: float | None = None
    last_result: str = ""
    failures: int = 0
    pending: str = ""

    @property
    def boundary(self) -> float:
        """When the next run is due; in the past when it is."""
        return self.schedule.boundary_after(self.anchor)

    def settled(self, utc: float, result: str, failures: int) -> Entry:
        """After a run that ended at ``utc``."""
        return attrs.evolve(self, anchor=utc, last_result=result[:_RESULT_MAX], failures=failures, pending="")


# What happened, for Scheduler.handle.


@attrs.frozen
class Looked:
    """Time may have passed."""


@attrs.frozen
class Taken:
    """The run of ``schedule`` that was to take ``snapshot`` did."""

    schedule: str
    snapshot: str


@attrs.frozen
class Failed:
    """It did not; ``code`` is the error's, ``text`` is for people."""

    schedule: str
    snapshot: str
    code: str
    text: str


@attrs.frozen
class Take:
    """Effect: write the entries down, then take this snapshot and say how it ended."""

    schedule: str
    snapshot: str
    origin: str
    activate: bool | None


Event = Looked | Taken | Failed


class Scheduler:
    """The schedules of one volume. One run at a time: while one goes on, no other begins.

    Args:
        rng: chance for the delays of retries.
    """

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._entries: dict[str, Entry] = {}
        self._retry_at: dict[str, float] = {}

    @property
    def entries(self) -> Mapping[str, Entry]:
        """By name; a new mapping whenever something changed."""
        return self._entries

    def get(self, name: str) -> Entry:
        """Raises UnknownSchedule."""
        if name not in self._entries:
            known = sorted(self._entries)
            words = f"the schedules are {', '.join(known[:10])}" if known else "this volume has none"
            raise UnknownSchedule(f"cannot find schedule {name[:100]!r}: {words}", name=name[:100], known=known)
        return self._entries[name]

    def resume(self, entries: Iterable[Entry], there: frozenset[str], now: Moment) -> None:
        """Take over what was stored. ``there``: names of the snapshots that exist, to know how pending runs ended."""
        for entry in entries:
            self._put(_ended(entry, entry.pending in there))
            if entry.failures:
                self._retry_at[entry.schedule.name] = now.monotonic + RETRY.delay(0, self._rng)

    def proposed(self, schedule: Schedule, now: Moment) -> Entry:
        """The entry that ``schedule`` would have; nothing is changed.

        With another interval than before it is due at the first boundary from now on.

        Raises:
            Busy: there are SCHEDULES_MAX already.
        """
        old = self._entries.get(schedule.name)
        if old is None and len(self._entries) >= SCHEDULES_MAX:
            raise Busy(f"cannot add schedule {schedule.name}: there are {SCHEDULES_MAX} already; remove one first")
        if old is None:
            return Entry(schedule, now.utc)
        return attrs.evolve(
            old, schedule=schedule, anchor=old.anchor if old.schedule.every == schedule.every else now.utc
        )

    def put(self, entry: Entry) -> None:
        """Make a proposed entry count. What happened to the old one since it was proposed is kept."""
        old = self._entries.get(entry.schedule.name)
        if old is None:
            self._put(entry)
        else:
            kept = old.anchor if old.schedule.every == entry.schedule.every else entry.anchor
            self._put(attrs.evolve(old, schedule=entry.schedule, anchor=kept))

    def remove(self, name: str) -> None:
        """Forget a schedule. A run of it that goes on is nobody's then."""
        self._entries = {other: entry for other, entry in self._entries.items() if other != name}
        self._retry_at.pop(name, None)

    def handle(self, event: Event, now: Moment) -> Take | None:
        """What to do after ``event``; the entries may have changed."""
        if isinstance(event, Taken | Failed):
            self._end(event, now)
        self._catch_up_with_the_clock(now)
        return self._begin(now)

    def next_due(self, name: str, now: Moment) -> float:
        """UTC seconds of the next run of a schedule, retries included. Raises UnknownSchedule."""
        boundary = self.get(name).boundary
        retry = self._retry_at.get(name)
        return boundary if retry is None else min(boundary, now.utc + max(0.0, retry - now.monotonic))

    def next_deadline(self, now: Moment) -> float | None:
        """Monotonic seconds of the next look; None without schedules."""
        if not self._entries:
            return None
        wait = min(self.next_due(name, now) for name in self._entries) - now.utc
        return now.monotonic + min(LOOK_S, max(_LEAST_S, wait))

    def _put(self, entry: Entry) -> None:
        self._entries = {**self._entries, entry.schedule.name: entry}

    def _catch_up_with_the_clock(self, now: Moment) -> None:
        for entry in self._entries.values():
            if entry.anchor > now.utc + entry.schedule.every:
                self._put(attrs.evolve(entry, anchor=now.utc))

    def _begin(self, now: Moment) -> Take | None:
        if any(entry.pending for entry in self._entries.values()):
            return None
        due = [entry for entry in self._entries.values() if self._is_due(entry, now)]
        if not due:
            return None
        first = min(due, key=lambda entry: (entry.boundary, entry.schedule.name))
        schedule = first.schedule
        name = f"{schedule.name}-{stamp(now.utc)}"
        self._retry_at.pop(schedule.name, None)
        self._put(attrs.evolve(first, last_run=now.utc, pending=name))
        return Take(schedule.name, name, schedule.origin, schedule.activate)

    def _is_due(self, entry: Entry, now: Moment) -> bool:
        retry = self._retry_at.get(entry.schedule.name, math.inf)
        return entry.boundary <= now.utc or retry <= now.monotonic

    def _end(self, event: Taken | Failed, now: Moment) -> None:
        entry = self._entries.get(event.schedule)
        if entry is None or entry.pending != event.snapshot:
            return  # the schedule was removed while its snapshot was taken
        if isinstance(event, Taken):
            self._put(entry.settled(now.utc, f"taken {event.snapshot}", 0))
            return
        self._put(entry.settled(now.utc, event.text, entry.failures + 1))
        if event.code in RETRIED:
            self._retry_at[event.schedule] = now.monotonic + RETRY.delay(entry.failures, self._rng)


def _ended(entry: Entry, there: bool) -> Entry:
    """A stored entry whose run, if one was going on, is over.

    Without its snapshot the anchor stays where it was, and the run is due again at once.
    """
    if not entry.pending:
        return entry
    if not there:
        return attrs.evolve(entry, pending="", last_result=f"interrupted while taking {entry.pending}")
    return entry.settled(entry.last_run or entry.anchor, f"taken {entry.pending}", 0)
