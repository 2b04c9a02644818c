"""The background workers of a primary, as rows of one table with intervals from the settings in force.

deepseek-ai/3FS has ten. The lease has a driver of its own (:mod:`leasing`), and places of targets are loaded with
everything else. The heartbeater of a mgmtd that is not primary needs a network between hosts. The others are here. A
round that finds us not primary does nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from svcmgr.background import Worker
from svcmgr.services.mgmtd import metrics, rounds
from svcmgr.services.mgmtd.changes import Cause, Change, Origin
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.reign import Reign
from svcmgr.services.mgmtd.settings import Settings

#: Things looked at in one piece, so that the loop is not held up for more than some milliseconds.
_SLICE = 1000


class Employer(Protocol):
    """What there is of a mgmtd for its workers."""

    @property
    def settings(self) -> Settings:
        """Those in force."""
        ...

    def now(self) -> Moment:
        """On both clocks."""
        ...

    def reign(self) -> Reign:
        """The present term. Raises NotPrimary."""
        ...


class Workers:
    """``numbers``: the metrics of the last round."""

    def __init__(self, employer: Employer) -> None:
        self.numbers: metrics.Numbers = {}
        self._counted: tuple[int, int, int] | None = None
        self._employer = employer
        self._reordering: dict[int, int] = {}

    def table(self) -> list[Worker]:
        """The rows."""
        return [
            self._row("check-heartbeats", self.check_heartbeats, lambda s: s.check_status_interval),
            self._row("check-sessions", self.check_sessions, lambda s: s.check_status_interval),
            self._row("check-young-chains", self.check_young_chains, lambda s: s.check_status_interval),
            self._row("update-chains", self.update_chains, lambda s: s.update_chains_interval),
            self._row("raise-routing-version", self.raise_version, lambda s: s.bump_routing_info_version_interval),
            self._row("persist-places", self.persist_places, lambda s: s.target_info_persist_interval),
            self._row("update-metrics", self.update_metrics, lambda s: s.update_metrics_interval),
        ]

    def _row(self, name: str, run: Callable[[Reign], Awaitable[None]], interval: Callable[[Settings], float]) -> Worker:
        async def round_() -> None:
            try:
                await run(self._employer.reign())
            except NotPrimary:
                return  # another one's work

        return Worker(name, round_, lambda: interval(self._employer.settings))

    async def check_heartbeats(self, reign: Reign) -> None:
        """Who was silent for too long has failed."""
        cluster, settings = reign.cluster, self._employer.settings
        async with reign.lock:
            now = self._employer.now()
            changes = rounds.silent_nodes(cluster, settings, now)
            for ids in _sliced(list(cluster.targets)):
                changes += rounds.silent_targets(cluster, ids, settings, now)
                await asyncio.sleep(0)
            if changes:
                await reign.carry_out(changes, Origin(Cause.TIMEOUT, "check-heartbeats"), now)

    async def check_sessions(self, reign: Reign) -> None:
        """Clients that went without a word."""
        reign.carry_out_quiet(rounds.ended_sessions(reign.cluster, self._employer.settings, self._employer.now()))

    async def check_young_chains(self, reign: Reign) -> None:
        """Chains that have gathered for long enough may be judged."""
        async with reign.lock:
            now = self._employer.now()
            changes = rounds.grown_up(reign.cluster, self._employer.settings, now)
            await reign.carry_out(changes, Origin(Cause.SCHEDULE, "check-young-chains"), now)

    async def update_chains(self, reign: Reign) -> None:
        """Judge chains of which something changed, and tell of targets that changed."""
        cluster = reign.cluster
        async with reign.lock:
            candidates = list(cluster.touched)
            cluster.touched.clear()
            try:
                changes = await self._judge(reign, candidates)
                if changes or cluster.urgent:
                    origin = Origin(Cause.HEARTBEAT, "update-chains")
                    await reign.carry_out(changes, origin, self._employer.now(), bump=cluster.urgent)
            except BaseException:
                cluster.touched.update(dict.fromkeys(candidates))
                raise

    async def _judge(self, reign: Reign, candidates: list[int]) -> list[Change]:
        cluster, changes = reign.cluster, list[Change]()
        for ids in _sliced(candidates):
            for id in ids:
                changes += rounds.judged(cluster, id)
            await asyncio.sleep(0)
        if self._employer.settings.try_adjust_target_order_as_preferred:
            busy = {change.id for change in changes}
            free = [id for id in cluster.chains if id not in busy]
            changes += rounds.reordered(cluster, free, self._reordering)
        return changes

    async def raise_version(self, reign: Reign) -> None:
        """Give what changed without haste its version, write events that wait, and forget old ones."""
        async with reign.lock:
            if reign.cluster.history.pending:
                await reign.carry_out([], Origin(Cause.SCHEDULE), self._employer.now(), bump=True)
            await reign.flush()

    async def persist_places(self, reign: Reign) -> None:
        """Where targets are must outlive us."""
        async with reign.lock:
            changes = rounds.unplaced(reign.cluster, self._employer.settings.target_info_persist_batch)
            await reign.carry_out(changes, Origin(Cause.HEARTBEAT), self._employer.now())

    async def update_metrics(self, reign: Reign) -> None:
        """Numbers for the statistics; walked for only when something is different."""
        cluster = reign.cluster
        stamp = (reign.epoch, cluster.version, cluster.changes)
        if stamp != self._counted:
            self.numbers = await metrics.numbers(cluster)
            self._counted = stamp


def _sliced(ids: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(ids)
    while piece := list(itertools.islice(rest, _SLICE)):
        yield piece
