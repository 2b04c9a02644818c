"""A server and connections to it on a virtual loop, for histories."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec

from svcmgr.conn.access import Access
from svcmgr.conn.client import Connection, ConnSpec
from svcmgr.conn.events import ConnEvent
from svcmgr.conn.memory import MemoryNetwork
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.session import State
from svcmgr.conn.verbs import CallContext, Verb
from tests.kit.vloop import VirtualClock, until


class Echo(msgspec.Struct):
    text: str = "nothing"
    times: int = 1


async def sleep(request: float, ctx: CallContext) -> str:
    await asyncio.sleep(request)
    return "slept"


async def never(request: None, ctx: CallContext) -> None:
    await asyncio.Event().wait()


def fail(request: None, ctx: CallContext) -> None:
    raise ZeroDivisionError("our bug")


VERBS: Mapping[str, Verb] = {
    "echo": Verb(lambda request, ctx: request.text * request.times, request=Echo),
    "sleep": Verb(sleep, request=float),
    "never": Verb(never),
    "fail": Verb(fail),
    "subscribe": Verb(lambda request, ctx: ctx.subscribe(request), request=str),
    "unsubscribe": Verb(lambda request, ctx: ctx.unsubscribe(request), request=str),
    "who": Verb(lambda request, ctx: [ctx.peer.uid, ctx.access.name, ctx.deadline]),
    "admin": Verb(lambda request, ctx: "done", access=Access.ADMIN),
    "large": Verb(lambda request, ctx: b"x" * request, request=int),
    "wrong": Verb(lambda request, ctx: object()),
}


@attrs.define
class Rig:
    """Everything a history needs. Addresses are ``mem:d``."""

    network: MemoryNetwork
    clock: VirtualClock
    events: list[ConnEvent]
    errors: list[tuple[str, BaseException]]
    connections: list[Connection]
    servers: list[Server]

    async def serve(self, verbs: Mapping[str, Verb] = VERBS, **fields: Any) -> Server:
        fields = {"on_error": lambda verb, error: self.errors.append((verb, error)), **fields}
        server = Server(ServerSpec("mem:d", transport=self.network, **fields), verbs, clock=self.clock)
        await server.start()
        self.servers.append(server)
        return server

    def connection(self, notify: Callable[[ConnEvent], None] | None = None, **fields: Any) -> Connection:
        spec = ConnSpec("mem:d", transport=self.network, **fields)
        connection = Connection(spec, clock=self.clock, rng=random.Random(5), notify=notify or self.events.append)
        self.connections.append(connection)
        return connection

    async def up(self, incarnation: int = 1, **fields: Any) -> Connection:
        connection = self.connection(**fields)
        connection.connect(incarnation)
        await until(lambda: connection.state is State.UP)
        return connection


@asynccontextmanager
async def rig(**fields: Any) -> AsyncIterator[Rig]:
    """A network; servers and connections made on it are closed at the end, and nothing may be left."""
    made = Rig(MemoryNetwork(**fields), VirtualClock(), [], [], [], [])
    try:
        yield made
    finally:
        for connection in made.connections:
            await connection.term()
        for server in made.servers:
            await server.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
