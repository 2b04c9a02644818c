"""ZeroMQ over tcp: who may come, and as whom."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from svcmgr.clock import SystemClock
from svcmgr.conn.access import Access
from svcmgr.conn.client import Connection, ConnSpec
from svcmgr.conn.events import ConnEvent
from svcmgr.conn.keyfile import load, save
from svcmgr.conn.resolve import over_network
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.session import State
from svcmgr.conn.transport import Address, LinkOptions
from svcmgr.conn.verbs import Verb
from svcmgr.conn.zeromq import Tuning, ZeroMQTransport, new_pair
from svcmgr.errors import BadInput, Disconnected, NotPermitted, StorageFailed, Unsupported
from tests.kit.conformance import Recorder
from tests.kit.keyrings import Party, kept_port, tcp
from tests.kit.rawzmq import raw_clients
from tests.kit.vloop import until

VERBS = {
    "who": Verb(lambda request, ctx: [ctx.peer.key, ctx.access.name, ctx.peer.uid, ctx.peer.gid, ctx.peer.address]),
    "report": Verb(lambda request, ctx: "noted", Access.NODE),
    "change": Verb(lambda request, ctx: "done", Access.ADMIN),
}


@pytest.fixture
def address() -> Iterator[Address]:
    with kept_port() as port:
        yield tcp(port)


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return Party(tmp_path)


@asynccontextmanager
async def served(transport: ZeroMQTransport, address: Address) -> AsyncIterator[Server]:
    async with Server(ServerSpec(str(address), transport=transport), VERBS, clock=SystemClock()) as server:
        yield server


@asynccontextmanager
async def connected(keyring: Path, address: Address) -> AsyncIterator[tuple[Connection, list[ConnEvent]]]:
    events: list[ConnEvent] = []
    spec = ConnSpec(str(address), transport=ZeroMQTransport(keyring))
    connection = Connection(spec, clock=SystemClock(), rng=random.Random(1), notify=events.append)
    connection.connect(1)
    try:
        await until(lambda: connection.state is State.UP)
        yield connection, events
    finally:
        await connection.term()


async def dial(keyring: Path, address: Address) -> Recorder:
    handler = Recorder()
    await ZeroMQTransport(keyring).dial(address, handler, LinkOptions())
    return handler


@pytest.mark.parametrize("scope", Access)
def test_a_key_has_a_name_and_a_scope(party: Party, address: Address, scope: Access) -> None:
    keyring = party.client("laptop", address, scope)

    async def history() -> None:
        async with served(ZeroMQTransport(party.server_file), address), connected(keyring, address) as (peer, events):
            key, access, uid, gid, place = await peer.call("who")
            assert (key, access, uid, gid) == ("laptop", scope.name, -1, -1)
            assert place.startswith("127.0.0.1:")
            assert events[0].peer.key == "server"  # type: ignore[union-attr]
            for verb, least in (("report", Access.NODE), ("change", Access.ADMIN)):
                if scope >= least:
                    await peer.call(verb)
                else:
                    with pytest.raises(NotPermitted):
                        await peer.call(verb)

    asyncio.run(history())


@pytest.mark.parametrize("kind", ["unknown", "without scope"])
def test_who_may_not_come_is_told_so_and_nothing_of_ours_is_read(party: Party, address: Address, kind: str) -> None:
    keyring = party.client("eve", address, None, known=kind != "unknown")

    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address) as server:
            with pytest.raises(NotPermitted):
                await dial(keyring, address)
            assert transport.statistics()["denied"] == 1
            assert server.statistics()["accepted"] == transport.statistics()["admitted"] == 0
            await until(lambda: transport.statistics()["waiting"] == 0)

    asyncio.run(history())


def test_many_that_may_not_come_fill_neither_memory_nor_log(
    party: Party, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    keyring = party.client("eve", address, known=False)

    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address):
            for _ in range(100):
                with pytest.raises(NotPermitted):
                    await dial(keyring, address)
            await until(lambda: transport.statistics()["waiting"] == 0)
            assert transport.statistics()["denied"] == 100
            (door,) = transport._doors.values()
            assert len(door._arrivals) == 0

    with caplog.at_level(logging.DEBUG):
        asyncio.run(history())
    assert [record for record in caplog.records if record.name != "asyncio"] == []


def test_a_server_with_another_key_is_not_spoken_to(party: Party, address: Address, tmp_path: Path) -> None:
    keyring = party.client("laptop", address)
    (tmp_path / "other").mkdir()
    impostor = Party(tmp_path / "other")
    impostor.knows(party.server.holders["laptop"])

    async def history() -> None:
        transport = ZeroMQTransport(impostor.server_file)
        async with served(transport, address):
            with pytest.raises(Disconnected):
                await dial(keyring, address)
            await until(lambda: transport.statistics()["failed_handshakes"] == 1)
            assert transport.statistics()["admitted"] == 0

    asyncio.run(history())


@pytest.mark.parametrize("kind", ["no key", "garbage", "plain"])
def test_what_is_not_curve_is_refused(party: Party, address: Address, kind: str) -> None:
    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address) as server:
            with raw_clients() as make, socket.socket() as sock:
                if kind == "garbage":
                    sock.connect(address.host_and_port)
                    sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
                    sock.setblocking(False)
                    await until(lambda: transport.statistics()["accepted"] == 1)
                else:
                    options = {"PLAIN_USERNAME": b"root", "PLAIN_PASSWORD": b"x"} if kind == "plain" else {}
                    raw = make(address, None, **options)
                    await until(lambda: raw.is_cut)
            await until(lambda: transport.statistics()["waiting"] == 0)
            assert transport.statistics()["admitted"] == transport.statistics()["links"] == 0
            assert server.statistics()["accepted"] == 0

    asyncio.run(history())


def test_a_key_that_is_withdrawn_ends_its_link_and_can_come_back(party: Party, address: Address) -> None:
    keyring, other = party.client("laptop", address), party.client("desk", address)
    holder = party.server.holders["laptop"]

    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address), connected(other, address) as (bystander, _):
            near = await dial(keyring, address)
            party.forgets("laptop")
            changes = await transport.reload()
            assert (changes.added, changes.removed, changes.changed, changes.ended) == ((), ("laptop",), (), 1)
            await until(lambda: near.error)
            with pytest.raises(NotPermitted):
                await dial(keyring, address)
            party.knows(holder)
            assert (await transport.reload()).added == ("laptop",)
            async with connected(keyring, address) as (again, _):
                await again.call("who")
            assert bystander.statistics()["disconnects"] == 0
            assert transport.statistics()["withdrawn"] == 1

    asyncio.run(history())


def test_another_scope_ends_the_link_and_holds_for_the_next(party: Party, address: Address) -> None:
    keyring = party.client("laptop", address, Access.READ)

    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address), connected(keyring, address) as (connection, _):
            party.knows(attrs.evolve(party.server.holders["laptop"], scope=Access.ADMIN))
            assert (await transport.reload()).changed == ("laptop",)
            await until(lambda: connection.statistics()["connects"] == 2)
            assert await connection.call("change") == "done"

    asyncio.run(history())


def test_a_bad_file_changes_nothing(party: Party, address: Address) -> None:
    keyring = party.client("laptop", address)

    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address), connected(keyring, address) as (connection, _):
            party.server_file.write_text("[own")
            with pytest.raises(BadInput):
                await transport.reload()
            party.server_file.chmod(0o644)
            with pytest.raises(NotPermitted):
                await transport.reload()
            await connection.call("who")
            (await dial(keyring, address)).opened_link.abort()

    asyncio.run(history())


def test_a_clients_key_is_rotated_while_it_works(party: Party, address: Address, tmp_path: Path) -> None:
    old = party.client("laptop", address)
    public, secret = new_pair()
    new = tmp_path / "new.toml"
    save(new, attrs.evolve(load(old), public=public, secret=secret))

    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address):
            before = await dial(old, address)
            save(party.server_file, party.server.rotating("laptop", public, keep=True))
            assert (await transport.reload()).ended == 0
            after = await dial(new, address)
            save(party.server_file, party.server.rotating("laptop", public, keep=False))
            assert (await transport.reload()).ended == 1
            await until(lambda: before.error)
            assert after.error is None
            with pytest.raises(NotPermitted):
                await dial(old, address)
            after.opened_link.abort()

    asyncio.run(history())


def test_a_servers_key_is_rotated_for_clients_that_know_both(party: Party, address: Address) -> None:
    keyring = party.client("laptop", address)
    public, secret = new_pair()
    save(keyring, load(keyring).rotating("server", public, keep=True))

    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, address), connected(keyring, address):
            save(party.server_file, attrs.evolve(party.server, public=public, secret=secret))
            changes = await transport.reload()
            assert changes.own
            assert changes.ended == 0
        async with served(transport, address), connected(keyring, address) as (connection, _):
            await connection.call("who")

    asyncio.run(history())


def test_an_own_pair_that_is_none_is_refused(party: Party) -> None:
    save(party.server_file, attrs.evolve(party.server, public=new_pair()[0]))
    with pytest.raises(BadInput):
        ZeroMQTransport(party.server_file)


def test_an_address_without_key_is_not_dialled(party: Party, address: Address) -> None:
    keyring = party.client("laptop", tcp(0))

    async def history() -> None:
        for place in (address, tcp(0)):
            with pytest.raises(BadInput):
                await dial(keyring, place)

    asyncio.run(history())


def test_the_kernel_may_choose_the_port(party: Party, tmp_path: Path) -> None:
    async def history() -> None:
        transport = ZeroMQTransport(party.server_file)
        async with served(transport, tcp(0)) as server:
            place = Address.parse(server.address)
            assert place.host_and_port[1] > 0
            keyring = party.client("laptop", place)
            await transport.reload()
            async with connected(keyring, place) as (connection, _):
                await connection.call("who")

    asyncio.run(history())


def test_names_of_hosts_are_looked_up(party: Party) -> None:
    async def history() -> None:
        with kept_port() as port:
            place = tcp(port, "localhost")
            keyring = party.client("laptop", place)
            async with served(ZeroMQTransport(party.server_file), tcp(port)), connected(keyring, place) as (peer, _):
                await peer.call("who")
            nowhere = Address.parse("tcp://nowhere.invalid:1")
            with pytest.raises(Disconnected):
                await dial(party.client("lost", nowhere), nowhere)
            for unusable in (nowhere, Address.parse("tcp://192.0.2.1:1")):
                with pytest.raises(StorageFailed):
                    await ZeroMQTransport(party.server_file).listen(unusable, Recorder, LinkOptions())

    asyncio.run(history())


def test_without_pyzmq_it_says_what_is_missing(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(over_network(party.server_file), ZeroMQTransport)
    monkeypatch.setitem(sys.modules, "svcmgr.conn.zeromq", None)
    with pytest.raises(Unsupported) as caught:
        over_network(party.server_file)
    assert caught.value.details["extra"] == "cluster"


@pytest.mark.parametrize("fields", [{"handshake": 0}, {"heartbeat": -1}, {"heartbeat_timeout": 0}, {"waiting": 0}])
def test_impossible_tuning_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Tuning(**fields)  # type: ignore[arg-type]
