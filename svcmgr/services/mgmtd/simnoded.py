"""simnode: a simulated storage node as a process. It heartbeats to a mgmtd, follows its routing, and stores nothing.

    python -m svcmgr.services svcmgr.services.mgmtd.simnoded:SimNoded --mgmtd SOCKET --node 2 --targets 201,202

What it does is decided by :mod:`simnode`; this is the loop around it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from svcmgr.conn import Connection, ConnEvent, ConnSpec
from svcmgr.errors import BadInput, ConnectionFault, SvcmgrError
from svcmgr.services.daemonkit import Access, CallContext, Context, Daemon, Verb
from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.errors import HeartbeatVersionStale
from svcmgr.services.mgmtd.ids import NODE_ID
from svcmgr.services.mgmtd.simnode import (
    DiskFailed,
    DiskReplaced,
    Event,
    Passed,
    Placed,
    Report,
    Routed,
    SimNode,
    Timing,
)
from svcmgr.services.mgmtd.states import PublicState, from_word

#: How long one long poll waits, seconds; well below the frame timeout.
_POLL_S = 5.0
#: After a refusal or a lost connection, seconds.
_AGAIN_S = 0.5

T = TypeVar("T")


class TargetRequest(msgspec.Struct, frozen=True):
    target: int


class SimNoded(Daemon):
    """A simulated storage node."""

    name = "simnode"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        flags = context.flags
        self._node = NODE_ID.check(flags.node)
        timing = Timing(heartbeat_s=flags.heartbeat, sync_s=flags.sync)
        self._engine = SimNode(_numbers(flags.targets), timing)
        self._incarnation = uuid.uuid4().hex
        self._version = 1
        self._known = 0
        self._moved = asyncio.Event()
        self._reports: asyncio.Queue[Report] = asyncio.Queue(1)
        self._counts = {"heartbeats": 0, "refused": 0, "lost": 0}
        self._last_error = ""
        self._conn: Connection | None = None

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--mgmtd", type=Path, required=True, metavar="SOCKET", help="the unix socket of mgmtd")
        parser.add_argument("--node", type=int, required=True, metavar="ID", help="its node id, which is registered")
        parser.add_argument("--targets", default="", metavar="ID,ID", help="its targets")
        parser.add_argument("--heartbeat", type=float, default=10.0, metavar="SECONDS", help="default: 10")
        parser.add_argument(
            "--sync", type=float, default=5.0, metavar="SECONDS", help="how long a sync takes; default: 5"
        )

    @contextlib.asynccontextmanager
    async def resources(self) -> AsyncIterator[None]:
        spec = ConnSpec(address=f"unix:{self.context.flags.mgmtd}", name="mgmtd", frame_timeout=4 * _POLL_S)
        self._conn = Connection(spec, clock=self.context.clock, rng=random.Random(), notify=_unheard)  # noqa: S311
        self._conn.init()
        self._conn.connect(1)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work()) for work in (self._live, self._watch, self._send)]
                try:
                    yield
                finally:
                    for task in tasks:
                        task.cancel()
            await self._say_goodbye()
        finally:
            await self._conn.term()

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "fail-disk": Verb(lambda request, ctx: self._disk(DiskFailed(request.target)), Access.ADMIN, TargetRequest),
            "replace-disk": Verb(
                lambda request, ctx: self._disk(DiskReplaced(request.target)), Access.ADMIN, TargetRequest
            ),
            "targets": Verb(self._targets, Access.READ),
        }

    def statistics(self) -> Mapping[str, Any]:
        return {**self._counts, "joined": self._engine.joined, "routing": self._known, "last_error": self._last_error}

    def _targets(self, request: None, ctx: CallContext) -> dict[str, str]:
        return {str(target): local.name for target, local in self._engine.locals.items()}

    def _disk(self, event: DiskFailed | DiskReplaced) -> dict[str, str]:
        self._feed(event)
        return {str(target): local.name for target, local in self._engine.locals.items()}

    # --- the loop around the engine

    def _feed(self, event: Event) -> None:
        for report in self._engine.handle(event, self.context.clock.monotonic()):
            if self._reports.full():
                self._reports.get_nowait()  # one that mgmtd has not heard of is outdated by this one
            self._reports.put_nowait(report)
        self._moved.set()

    async def _live(self) -> None:
        while True:
            self._feed(Passed())
            self._moved.clear()
            left = self._engine.next_deadline - self.context.clock.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left)):
                    await self._moved.wait()

    async def _send(self) -> None:
        while True:
            report = await self._reports.get()
            try:
                await self._heartbeat(report)
            except SvcmgrError as error:
                self._note(error)
                await asyncio.sleep(_AGAIN_S)
                if self._reports.empty():
                    self._reports.put_nowait(report)

    async def _heartbeat(self, report: Report) -> None:
        try:
            await self._call("heartbeat", self._request(report), wire.HeartbeatReply)
        except HeartbeatVersionStale as error:
            # Another process had this node id before us, or our answer was lost: go on from what mgmtd knows.
            self._version = int(error.details.get("version", self._version)) + 1
            await self._call("heartbeat", self._request(report), wire.HeartbeatReply)
        self._version += 1
        self._counts["heartbeats"] += 1
        self._last_error = ""

    def _request(self, report: Report) -> wire.HeartbeatRequest:
        targets = [wire.LocalTargetInfo(target, local.name, seen) for target, local, seen in report.targets]
        return wire.HeartbeatRequest(
            app=self._app(),
            type="STORAGE",
            version=self._version,
            timestamp=self.context.clock.utc(),
            targets=targets,
        )

    def _app(self) -> wire.AppInfo:
        return wire.AppInfo(self._node, self._incarnation, hostname=socket.gethostname(), pid=os.getpid())

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except SvcmgrError as error:
                self._note(error)
                self._known = 0
                await asyncio.sleep(_AGAIN_S)

    async def _look(self) -> None:
        request = wire.WatchRequest(self._known, ["chains"], _POLL_S)
        reply = await self._call("watch", request, wire.WatchReply) if self._known else wire.WatchReply(resync=True)
        if reply.resync or reply.delta is not None:
            chains = await self._call("chains", wire.ChainsRequest(), wire.ChainsReply)
            self._feed(Routed(self._placed(chains.chains)))

    def _placed(self, chains: list[wire.ChainInfo]) -> dict[int, Placed]:
        mine = self._engine.locals
        return {
            target.target: Placed(from_word(PublicState, target.public), chain.version)
            for chain in chains
            for target in chain.targets
            if target.target in mine
        }

    async def _say_goodbye(self) -> None:
        with contextlib.suppress(SvcmgrError):  # a mgmtd that is not there finds out by itself
            await self._call("leave", wire.LeaveRequest(self._app()), wire.NodeInfo)

    async def _call(self, verb: str, request: Any, kind: type[T]) -> T:
        assert self._conn is not None
        answer = await self._conn.call(verb, request, type=wire.Answer)
        self._known = answer.version
        return msgspec.convert(answer.result, kind)

    def _note(self, error: SvcmgrError) -> None:
        self._counts["lost" if isinstance(error, ConnectionFault) else "refused"] += 1
        if error.message != self._last_error:
            self._last_error = error.message
            self.context.log.warning("%s", error.message)


def _unheard(event: ConnEvent) -> None:
    """What becomes of the connection is seen by what becomes of calls."""


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise BadInput(f"cannot use --targets {text[:80]!r}: give numbers with commas between") from None
