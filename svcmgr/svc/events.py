"""Facts about services, in past tense, numbered, kept in a bounded ring.

Everything that happens is one of these classes; logs, ``svcmgr events``, the ledger and tests all eat this
stream. Sequence numbers grow for the whole life of a root: each svcmgrd takes a *generation* from its store
and counts inside it (``generation * STRIDE + n``), so a cursor stays valid over a restart and a gap is seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any, ClassVar

import attrs

#: Events of one svcmgrd life before numbers would run into the next generation.
STRIDE = 1_000_000_000


@attrs.frozen
class Event:
    """Root of all events. ``name`` is the service's key, or "" for svcmgrd itself."""

    name: str
    what: ClassVar[str] = "event"

    def fields(self) -> dict[str, Any]:
        """What it carries besides the name, as plain values."""
        names = (a.name for a in attrs.fields(type(self)) if a.name != "name")
        return {n: v for n in names if (v := getattr(self, n)) not in (None, "", 0, False)}

    def line(self) -> str:
        """One line for a log."""
        rest = " ".join(f"{key}={value}" for key, value in self.fields().items())
        return f"{self.name or 'svcmgrd'}: {self.what}{' ' + rest if rest else ''}"


@attrs.frozen
class GoalSet(Event):
    what = "goal-set"
    goal: str
    by: str = ""


@attrs.frozen
class Waited(Event):
    """The start is held until others run."""

    what = "waiting"
    text: str = ""


@attrs.frozen
class HasProcess(Event):
    """Root of the two ways in which a service comes by a process."""

    what = "has-process"
    pid: int
    incarnation: int
    start_ticks: int = 0
    boot_id: str = ""
    spec_hash: str = ""

    def fields(self) -> dict[str, Any]:
        """Without what only the ledger needs."""
        return {"pid": self.pid, "incarnation": self.incarnation}


@attrs.frozen
class Spawned(HasProcess):
    what = "spawned"


@attrs.frozen
class SpawnFailed(Event):
    what = "spawn-failed"
    text: str


@attrs.frozen
class Adopted(HasProcess):
    """A process of an earlier svcmgrd was taken over, or a daemon's own child became the main process."""

    what = "adopted"


@attrs.frozen
class BecameReady(Event):
    what = "ready"
    pid: int
    after_s: float = 0.0


@attrs.frozen
class NotReady(Event):
    """The ready deadline passed."""

    what = "not-ready"
    text: str


@attrs.frozen
class BecameUnhealthy(Event):
    what = "unhealthy"
    text: str


@attrs.frozen
class Degraded(Event):
    """Alive, not answering."""

    what = "degraded"
    text: str = ""


@attrs.frozen
class Recovered(Event):
    what = "recovered"
    text: str = ""


@attrs.frozen
class Stopping(Event):
    what = "stopping"
    pid: int
    cause: str = ""


@attrs.frozen
class Exited(Event):
    """The process and everything it left are gone."""

    what = "exited"
    pid: int
    uptime_s: float
    code: int | None = None
    signal: str | None = None
    core: bool = False
    killed: bool = False
    log_tail: str = ""

    def fields(self) -> dict[str, Any]:
        fields = {k: v for k, v in super().fields().items() if k != "log_tail"}
        return {**fields, "code": 0} if self.code == 0 else fields


@attrs.frozen
class Unkillable(Event):
    what = "unkillable"
    pid: int
    text: str = ""


@attrs.frozen
class BackedOff(Event):
    what = "backing-off"
    delay_s: float
    failures: int


@attrs.frozen
class GaveUp(Event):
    what = "gave-up"
    text: str


@attrs.frozen
class Finished(Event):
    """It exited and the policy does not start it again; or it was stopped."""

    what = "down"
    text: str = ""


@attrs.frozen
class StatusTold(Event):
    """The daemon described itself (sd_notify STATUS=)."""

    what = "status-told"
    text: str


@attrs.frozen
class Reconfigured(Event):
    what = "reconfigured"
    text: str = ""


@attrs.frozen
class ReconfigureFailed(Event):
    """A changed configuration did not reach the daemon, or the daemon refused it; the one in force stays."""

    what = "reconfigure-failed"
    text: str


@attrs.frozen
class VolumeChanged(Event):
    """``action``: create, start, stop, set, reset or delete."""

    what = "volume-changed"
    volume: str
    action: str
    text: str = ""


@attrs.frozen
class DefinitionChanged(Event):
    what = "definition-changed"
    action: str
    text: str = ""


@attrs.frozen
class Troubled(Event):
    """Something svcmgrd itself could not do; supervision goes on."""

    what = "trouble"
    text: str


@attrs.frozen
class Began(Event):
    """svcmgrd serves."""

    what = "svcmgrd-began"
    pid: int
    version: str


@attrs.frozen
class Stamped:
    """An event with its number and UTC time (seconds)."""

    seq: int
    at: float
    event: Event


class EventRing:
    """The last ``capacity`` events. Memory is bounded; what falls out is counted for each reader."""

    def __init__(self, generation: int, capacity: int = 4096) -> None:
        self._ring: deque[Stamped] = deque(maxlen=capacity)
        self.next_seq = generation * STRIDE + 1

    def append(self, event: Event, at: float) -> Stamped:
        """Number and keep ``event``."""
        stamped = Stamped(self.next_seq, at, event)
        self.next_seq += 1
        self._ring.append(stamped)
        return stamped

    def since(self, cursor: int, names: Collection[str] = (), limit: int = 1000) -> tuple[list[Stamped], int, int]:
        """(events with ``seq > cursor``, the next cursor, how many were lost to the ring in between).

        A cursor of an earlier generation that the ring does not reach back to counts as one lost event at
        least, since how many there were is not known.
        """
        oldest = self._ring[0].seq if self._ring else self.next_seq
        lost = 0
        if 0 < cursor < oldest - 1:
            lost = oldest - cursor - 1 if cursor // STRIDE == oldest // STRIDE else 1
        found: list[Stamped] = []
        newest = self.next_seq - 1
        for stamped in self._ring:
            if stamped.seq > cursor and (not names or stamped.event.name in names):
                if len(found) == limit:
                    newest = found[-1].seq
                    break
                found.append(stamped)
        return found, newest, lost
