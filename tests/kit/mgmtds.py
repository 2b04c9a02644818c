"""mgmtd for tests, on the virtual clock: a store that can fail, and callers whose words pass through the wire."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from svcmgr.errors import StorageFailed
from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.mgmtd import Identity, Mgmtd, Seams
from svcmgr.services.mgmtd.nodes import AppFacts
from svcmgr.services.mgmtd.ops.base import Caller, Scope
from svcmgr.services.mgmtd.ops.table import OPERATIONS
from svcmgr.services.mgmtd.release import parse_release
from svcmgr.services.mgmtd.store import Batch, Memory, MemoryStore
from tests.kit.vloop import VirtualClock, until

ADMIN = Caller(Scope.ADMIN, "tester")
#: What each verb answers, as the table in wire.py says.
RESULTS = {
    words[0]: getattr(wire, words[3])
    for line in (wire.__doc__ or "").splitlines()
    if len(words := line.split()) > 4 and words[1] in ("read", "node", "admin")
}


class FaultyStore:
    """A store that refuses: ``fault`` is asked before each commit, ``blind`` before each snapshot."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.limits = store.limits
        self.commits = 0
        self.batches: list[Batch] = []
        self.fault: Callable[[Batch], Exception | None] = lambda batch: None
        self.after: Callable[[Batch], Exception | None] = lambda batch: None
        self.blind = False
        #: Commits never come to an end.
        self.hang = False

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Any]:
        if self.blind:
            raise StorageFailed("cannot read the store: it is away")
        async with self._store.snapshot() as snapshot:
            yield snapshot

    async def commit(self, batch: Batch) -> int:
        if self.hang:
            await asyncio.Event().wait()
        if (error := self.fault(batch)) is not None:
            raise error
        revision: int = await self._store.commit(batch)
        self.commits += 1
        self.batches.append(batch)
        if (error := self.after(batch)) is not None:
            raise error
        return revision

    async def aclose(self) -> None:
        await self._store.aclose()

    def away(self) -> None:
        """Nothing works until :meth:`back`."""
        self.fault = lambda batch: StorageFailed("cannot write the store: it is away")
        self.blind = True

    def back(self) -> None:
        self.fault, self.blind = lambda batch: None, False


class One:
    """One mgmtd; ``call`` says what a client would."""

    def __init__(self, store: FaultyStore, node: int = 1, cluster: str = "c", release: str = "1.0.0") -> None:
        clock = VirtualClock()
        app = AppFacts(node_id=node, hostname=f"m{node}", incarnation=f"i{node}", release=parse_release(release))
        identity = Identity(cluster_id=cluster, app=app)
        self.store = store
        self.mgmtd = Mgmtd(identity, store, Seams(clock, lambda: 0.5, logging.getLogger("mgmtd")))
        self.clock = clock
        self.beats: dict[int, int] = {}

    async def answer(self, verb: str, caller: Caller = ADMIN, **fields: Any) -> wire.Answer:
        """The whole answer."""
        request = msgspec.convert(fields, OPERATIONS[verb].request)
        answer = await self.mgmtd.call(verb, request, caller)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=wire.Answer)

    async def call(self, verb: str, caller: Caller = ADMIN, **fields: Any) -> Any:
        """The result, of the type that the wire says."""
        answer = await self.answer(verb, caller, **fields)
        return None if answer.result is None else msgspec.convert(answer.result, RESULTS[verb])

    async def primary(self) -> One:
        """Wait until it serves; itself."""
        await until(self.serves, within=300.0, step=0.1)
        return self

    def serves(self) -> bool:
        try:
            self.mgmtd.reign()
        except Exception:
            return False
        return True

    @property
    def version(self) -> int:
        return self.mgmtd.reign().cluster.version

    async def beat(self, node: int, type: str = "STORAGE", **fields: Any) -> wire.HeartbeatReply:
        """A heartbeat of a node; its targets as (id, state, chain version, used)."""
        self.beats[node] = version = fields.pop("version", self.beats.get(node, 0) + 1)
        targets = [
            {"target": id, "state": state, "chain_version": seen, "used": used}
            for id, state, seen, used in fields.pop("targets", ())
        ]
        app = {"node": node, "incarnation": f"p{node}", "hostname": f"h{node}", **fields.pop("app", {})}
        timestamp = fields.pop("timestamp", self.clock.utc())
        reply: wire.HeartbeatReply = await self.call(
            "heartbeat", app=app, type=type, version=version, timestamp=timestamp, targets=targets, **fields
        )
        return reply

    async def register(self, *nodes: int, type: str = "STORAGE") -> None:
        for node in nodes:
            await self.call("register-node", node=node, type=type)

    async def chain(self, id: int) -> str:
        """A chain as the acceptance cases write it: public state, small letter of the local one."""
        (info,) = (await self.call("chains", ids=[id])).chains
        return " ".join(f"{one.target}:{_PUBLIC[one.public]}{_LOCAL[one.local]}" for one in info.targets)

    async def chain_version(self, id: int) -> int:
        (info,) = (await self.call("chains", ids=[id])).chains
        version: int = info.version
        return version

    async def node(self, id: int) -> wire.NodeInfo:
        (info,) = (await self.call("nodes", ids=[id])).nodes
        found: wire.NodeInfo = info
        return found


_PUBLIC = {"SERVING": "S", "LASTSRV": "L", "SYNCING": "Y", "WAITING": "W", "OFFLINE": "O", "CREATED": "C"}
_LOCAL = {"UPTODATE": "u", "ONLINE": "n", "OFFLINE": "x"}


def memory() -> FaultyStore:
    """A fresh store in memory."""
    return FaultyStore(MemoryStore(Memory()))


@contextlib.asynccontextmanager
async def serving(store: FaultyStore | None = None, **how: Any) -> AsyncIterator[One]:
    """A mgmtd that is primary."""
    one = One(store or memory(), **how)
    async with one.mgmtd.running():
        yield await one.primary()
