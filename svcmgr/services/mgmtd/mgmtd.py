"""One mgmtd: a store, the lease on it, and while that is ours the cluster, its operations and its workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import attrs

from svcmgr.background import Worker, run_workers
from svcmgr.clock import Clock
from svcmgr.errors import SvcmgrError, UnknownVerb
from svcmgr.services.mgmtd import lease_terms as t
from svcmgr.services.mgmtd import loading, recording, wire
from svcmgr.services.mgmtd.bell import Bell
from svcmgr.services.mgmtd.changes import Cause, Change, Kind, Origin
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.own import MGMTD
from svcmgr.services.mgmtd.config.template import cut
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.lease import Leadership
from svcmgr.services.mgmtd.leasing import Leasing
from svcmgr.services.mgmtd.ledger import Ledger
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import AppFacts, Node
from svcmgr.services.mgmtd.ops.base import Caller, Given, admit
from svcmgr.services.mgmtd.ops.table import OPERATIONS
from svcmgr.services.mgmtd.reign import Reign
from svcmgr.services.mgmtd.settings import DEFAULTS, Settings, settings_of
from svcmgr.services.mgmtd.states import NodeStatus, NodeType
from svcmgr.services.mgmtd.store.faults import StoreUncertain
from svcmgr.services.mgmtd.store.protocol import Store
from svcmgr.services.mgmtd.workers import Workers

#: How long the end waits for the store to take the events that wait, seconds.
LAST_EVENTS_WITHIN_S = 1.0


@attrs.frozen(kw_only=True)
class Identity:
    """Which mgmtd this is. ``sole_instance``: this host allows one process of this node id at a time."""

    cluster_id: str
    app: AppFacts
    sole_instance: bool = False


@attrs.frozen
class Seams:
    """What a mgmtd gets from outside.

    ``chance`` gives floats in [0, 1). ``fatal(reason)`` is called when only a new start can help; who starts nothing
    anew leaves it out.
    """

    clock: Clock
    chance: Callable[[], float]
    log: logging.Logger
    fatal: Callable[[str], None] = lambda reason: None


class Mgmtd:
    """Serves within :meth:`running`; the store is the caller's."""

    def __init__(self, identity: Identity, store: Store, seams: Seams) -> None:
        self.cluster_id = identity.cluster_id
        self.store = store
        self.bell = Bell()
        self.settings: Settings = DEFAULTS
        self._settings_version = 0
        self._identity = identity
        self._seams = seams
        self._next: Reign | None = None
        self._reign: Reign | None = None
        self._calls = 0
        self._ending = False
        app = identity.app
        self._ledger = Ledger(store, lambda: self.settings.patience(), seams.chance, self._alarm)
        holder = t.Holder(app.node_id, app.incarnation)
        lead = Leadership(t.Candidate(holder, app.release), self.settings.policy(sole_instance=identity.sole_instance))
        me = recording.node_record(Node(app=app, type=NodeType.MGMTD).persistent)
        self.leasing = Leasing(lead, self._ledger, seams.clock, me, self)
        self._workers = Workers(self)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the lease if it can be had, and work. In the end it is given back."""
        failure: Exception | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.leasing.run(), name="lease"),
                group.create_task(run_workers(self.workers(), self._failed), name="workers"),
            ]
            try:
                yield
            except Exception as error:  # the caller's own, which is to leave here as it came
                failure = error
            finally:
                self._ending = True
                for task in tasks:
                    task.cancel()
                await self._write_last_events()
                await self.leasing.aclose()
        if failure is not None:
            raise failure

    async def _write_last_events(self) -> None:
        if self._reign is not None:
            with contextlib.suppress(SvcmgrError, TimeoutError):
                async with asyncio.timeout(LAST_EVENTS_WITHIN_S), self._reign.lock:
                    await self._reign.flush()

    async def await_primary(self, within_s: float) -> bool:
        """Wait until this one serves as primary; False when another does, or it takes longer than ``within_s``."""
        deadline = self.now().monotonic + within_s
        while self._reign is None:
            await asyncio.sleep(0)  # lets the lease be looked at, when this is the first thing after the start
            await self.leasing.settled()
            answer = self.leasing.lead.answer(self.now())
            if answer.primary is not None and self.leasing.lead.epoch is None:
                return False
            if self._reign is None and not await self.bell.wait_until(deadline):
                return False
        return True

    def workers(self) -> list[Worker]:
        """The table of background workers."""
        return self._workers.table()

    async def call(self, verb: str, request: Any, caller: Caller) -> wire.Answer:
        """Carry out one operation; ``request`` is of the type that :mod:`wire` says.

        Raises:
            UnknownVerb, ClusterIdMismatch, NotPermitted, NotPrimary, BadInput, and what the operation says.
        """
        operation = OPERATIONS.get(verb)
        if operation is None:
            raise UnknownVerb(f"cannot serve {verb[:64]!r}: no such verb", verb=verb[:64], known=sorted(OPERATIONS))
        admit(operation, self, request, caller)
        self._calls += 1
        result = await operation.run(self, request, caller)
        self._follow()
        return self._answer(result)

    def _answer(self, result: Any) -> wire.Answer:
        lead = self.leasing.lead
        epoch = lead.epoch or (lead.seen.epoch if lead.seen else 0)
        version = self._reign.cluster.version if self._reign else 0
        return wire.Answer(epoch, version, self._identity.app.node_id, result)

    # --- what operations and workers see

    def now(self) -> Moment:
        return Moment(self._seams.clock.monotonic(), self._seams.clock.utc())

    def reign(self) -> Reign:
        """The present term as primary. Raises NotPrimary."""
        self.leasing.lead.check_serves(self.now())
        if self._reign is None:
            raise NotPrimary("cannot serve: the cluster is being loaded; try again", primary=None)
        return self._reign

    def given(self, reign: Reign) -> Given:
        now = self.now()
        bootstrapping = self.leasing.lead.bootstrapping(now)
        return Given(reign.cluster, self.settings, now, self._identity.app.node_id, bootstrapping)

    # --- what the lease says

    async def load(self, epoch: int) -> None:
        """Bring the cluster into memory."""
        reign, found = await loading.load(self._ledger, self._identity.app, epoch, self.bell, self.now)
        for text in found.bad:
            self._seams.log.error("left out of the store: %s; run fsck", text)
        self._next = reign

    def serve(self, epoch: int) -> None:
        """We are primary."""
        if self._next is not None and self._next.epoch == epoch:
            self._reign, self._next = self._next, None
            me = f"node {self._identity.app.node_id}"
            won = Change(Kind.LEASE, epoch, None, epoch, f"{me} is primary")
            self._reign.journal.note([won], Origin(Cause.ELECTION, me), self.now(), self._reign.cluster.version)
            self._follow()
            self.bell.ring()
            cluster = self._reign.cluster
            self._seams.log.info(
                "primary, epoch %d: %d nodes, %d chains, routing version %d",
                epoch,
                len(cluster.nodes),
                len(cluster.chains),
                cluster.version,
            )

    def retire(self) -> None:
        """We are not primary any more; who waits for news hears that."""
        self._reign = self._next = None
        self.bell.ring()
        self._seams.log.log(logging.INFO if self._ending else logging.WARNING, "not primary any more")

    def trouble(self, what: str, error: SvcmgrError) -> None:
        self._seams.log.warning("cannot %s: %s", what, error.message)

    def _alarm(self, error: SvcmgrError) -> None:
        self._seams.log.error("the store refuses writes: %s", error.message)
        if isinstance(error, StoreUncertain):
            self._seams.fatal("it is not known what the store holds; a new start reads it")

    def _failed(self, name: str, error: Exception) -> None:
        known = isinstance(error, SvcmgrError)
        self._seams.log.error("worker %s failed: %s", name, error, exc_info=None if known else error)

    # --- following our own configuration

    def _follow(self) -> None:
        """Take over what concerns us: the newest configuration of type MGMTD, and our own tag Disable."""
        if self._reign is None:
            return
        cluster = self._reign.cluster
        newest = cluster.configs[NodeType.MGMTD].newest
        if newest.version != self._settings_version:
            self._settings_version = newest.version
            self._reconfigure(newest.content, cluster.nodes.get(self._identity.app.node_id))
        mine = cluster.nodes[self._identity.app.node_id]
        if mine.config_version != self._settings_version:
            now_with = attrs.evolve(mine, config_version=self._settings_version)
            cluster.apply([Change(Kind.NODE, mine.node_id, mine, now_with)])
        if mine.status is NodeStatus.DISABLED:
            self.leasing.tell(t.Disabled(True))

    def _reconfigure(self, content: str, mine: Node | None) -> None:
        app = self._identity.app
        tags = {tag.key: tag.value for tag in mine.tags} if mine else {}
        try:
            text = cut(content).render(Facts(app.node_id, app.hostname, "mgmtd", tags))
            self.settings = settings_of(MGMTD.read(text).values)
        except SvcmgrError as error:
            self._seams.log.error("configuration refused, the old one stays: %s", error.message)
            return
        self.leasing.lead.policy = self.settings.policy(sole_instance=self._identity.sole_instance)
        self._seams.log.info("configuration version %d is in force", self._settings_version)

    def statistics(self) -> Mapping[str, Any]:
        """Numbers for people and monitors."""
        lead = self.leasing.lead
        return {
            "cluster": self.cluster_id,
            "node": self._identity.app.node_id,
            "role": lead.role.name,
            "epoch": lead.epoch or 0,
            "calls": self._calls,
            "store_writes": self._ledger.writes,
            "config_version": self._settings_version,
            "numbers": self._workers.numbers,
        }
