"""A storage node that stores nothing: what a real one owes to mgmtd, and nothing else.

Theory of operation. A node that comes back cannot know what it missed. So it first reports every target OFFLINE, until
none of them is SERVING, SYNCING or WAITING any more; only then does it say what it has, and goes through recovery like
any other. After that each target follows its public state: one that serves is UPTODATE; one that was UPTODATE and is
not trusted any more is closed and opened again as ONLINE; one that syncs is UPTODATE when the sync is complete. Every
change is reported at once, but not more often than once in ``soonest_s``; without a change there is the periodic
heartbeat. The contract is that of deepseek-ai/3FS: src/storage/service/TargetMap.cc and Components.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.ids import TARGET_ID
from svcmgr.services.mgmtd.states import LocalState, PublicState

#: Public states from which a node that comes back must first be taken out.
_IN_USE = frozenset({PublicState.SERVING, PublicState.SYNCING, PublicState.WAITING})
#: Public states that say: what this target has may be old.
_UNTRUSTED = frozenset({PublicState.OFFLINE, PublicState.LASTSRV, PublicState.WAITING})


@attrs.frozen
class Timing:
    """Seconds: between heartbeats; at least between two of them; a sync takes; closing and opening a target takes."""

    heartbeat_s: float = 10.0
    soonest_s: float = 1.0
    sync_s: float = 5.0
    reopen_s: float = 0.5


@attrs.frozen
class Placed:
    """What routing says of one target."""

    public: PublicState
    chain_version: int


# --- events


@attrs.frozen
class Routed:
    """New routing information: every target of this node that is in a chain."""

    targets: Mapping[int, Placed]


@attrs.frozen
class Passed:
    """Time has passed."""


@attrs.frozen
class DiskFailed:
    """The medium of this target is gone; it stays OFFLINE until it is replaced."""

    target: int


@attrs.frozen
class DiskReplaced:
    """It has an empty new medium."""

    target: int


Event = Routed | Passed | DiskFailed | DiskReplaced


# --- effects


@attrs.frozen
class Report:
    """Send a heartbeat with these: (target, local state, chain version that was seen)."""

    targets: tuple[tuple[int, LocalState, int], ...]


@attrs.define
class _Replica:
    local: LocalState = LocalState.ONLINE
    placed: Placed | None = None
    failed: bool = False
    synced_at: float | None = None
    opened_at: float | None = None


class SimNode:
    """The node. ``handle`` every event, and again at ``next_deadline``."""

    def __init__(self, targets: Iterable[int], timing: Timing | None = None) -> None:
        """Raises BadInput for a bad or repeated target id."""
        ids = [TARGET_ID.check(target) for target in targets]
        if len(set(ids)) != len(ids):
            raise BadInput("cannot have a target twice on one node: name each once")
        self._timing = timing or Timing()
        self._replicas = {target: _Replica() for target in ids}
        #: whether it was taken out of use, so that it may say what it has
        self.joined = False
        self._changed = True
        self._reported: float | None = None

    @property
    def locals(self) -> dict[int, LocalState]:
        """What is reported of each target now."""
        return {target: self._shown(replica) for target, replica in self._replicas.items()}

    def handle(self, event: Event, now: float) -> list[Report]:
        """One event at ``now``, monotonic seconds. Raises BadInput for a target that is not here."""
        if isinstance(event, Routed):
            self._routed(event.targets, now)
        elif isinstance(event, DiskFailed):
            self._fail(self._find(event.target))
        elif isinstance(event, DiskReplaced):
            self._replace(self._find(event.target))
        for replica in self._replicas.values():
            self._advance(replica, now)
        return self._due(now)

    @property
    def next_deadline(self) -> float:
        """When to be called with :class:`Passed` at the latest."""
        if self._reported is None:
            return float("-inf")
        after = self._timing.soonest_s if self._changed else self._timing.heartbeat_s
        times = [self._reported + after]
        for replica in self._replicas.values():
            times += [at for at in (replica.synced_at, replica.opened_at) if at is not None]
        return min(times)

    # --- what happens to targets

    def _find(self, target: int) -> _Replica:
        replica = self._replicas.get(target)
        if replica is None:
            raise BadInput(f"cannot find target {target} on this node: it has {sorted(self._replicas)}")
        return replica

    def _routed(self, targets: Mapping[int, Placed], now: float) -> None:
        for target, replica in self._replicas.items():
            replica.placed = targets.get(target)
        if not self.joined:
            publics = [replica.placed.public for replica in self._replicas.values() if replica.placed is not None]
            if self._reported is not None and not _IN_USE.intersection(publics):
                self.joined = self._changed = True
            return
        for replica in self._replicas.values():
            if not replica.failed:
                self._follow(replica, now)

    def _follow(self, replica: _Replica, now: float) -> None:
        public = replica.placed.public if replica.placed is not None else None
        if replica.local is LocalState.UPTODATE and public in _UNTRUSTED:
            self._become(replica, LocalState.OFFLINE)
            replica.opened_at = now + self._timing.reopen_s
        elif replica.local is LocalState.ONLINE and public is PublicState.SERVING:
            self._become(replica, LocalState.UPTODATE)
        if replica.local is LocalState.ONLINE and public is PublicState.SYNCING:
            if replica.synced_at is None:
                replica.synced_at = now + self._timing.sync_s
        else:
            replica.synced_at = None

    def _advance(self, replica: _Replica, now: float) -> None:
        if replica.opened_at is not None and replica.opened_at <= now:
            replica.opened_at = None
            self._become(replica, LocalState.ONLINE)
        if replica.synced_at is not None and replica.synced_at <= now:
            replica.synced_at = None
            self._become(replica, LocalState.UPTODATE)

    def _fail(self, replica: _Replica) -> None:
        replica.failed = True
        replica.synced_at = replica.opened_at = None
        self._become(replica, LocalState.OFFLINE)

    def _replace(self, replica: _Replica) -> None:
        replica.failed = False
        self._become(replica, LocalState.ONLINE)

    def _become(self, replica: _Replica, local: LocalState) -> None:
        if replica.local is not local:
            replica.local = local
            self._changed = True

    # --- what is said

    def _shown(self, replica: _Replica) -> LocalState:
        return replica.local if self.joined else LocalState.OFFLINE

    def _due(self, now: float) -> list[Report]:
        if self._reported is not None:
            after = self._timing.soonest_s if self._changed else self._timing.heartbeat_s
            if now < self._reported + after:
                return []
        self._reported, self._changed = now, False
        return [Report(tuple(self._line(target, replica) for target, replica in self._replicas.items()))]

    def _line(self, target: int, replica: _Replica) -> tuple[int, LocalState, int]:
        shown = self._shown(replica)
        # "I am offline" counts whatever chain version the node last saw, so it names none.
        seen = replica.placed.chain_version if replica.placed is not None and shown is not LocalState.OFFLINE else 0
        return target, shown, seen
