"""ZeroMQ over tcp: peers that die, hang, say nothing, lie, or come in crowds."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from svcmgr.clock import SystemClock
from svcmgr.conn.client import Connection, ConnSpec
from svcmgr.conn.frame import Call, Cast, Hello, encode
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.session import State
from svcmgr.conn.transport import Address, LinkOptions
from svcmgr.conn.verbs import Verb
from svcmgr.conn.zeromq import Tuning, ZeroMQTransport, pieces
from svcmgr.conn.zeromq.sockets import DESCRIPTORS
from svcmgr.errors import AlreadyExists, Disconnected, FrameTooLarge, ProtocolFault, StorageFailed
from tests.kit.conformance import Recorder, numbered
from tests.kit.keyrings import Party, kept_port, tcp
from tests.kit.rawzmq import Raw, raw_clients
from tests.kit.vloop import until
from tests.kit.zmqpeer import peer

HELLO = encode(Hello(1, "raw"))
VERBS = {
    "large": Verb(lambda request, ctx: b"x" * request, request=int),
    "subscribe": Verb(lambda request, ctx: ctx.subscribe("news")),
}


@pytest.fixture
def address() -> Iterator[Address]:
    with kept_port() as port:
        yield tcp(port)


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return Party(tmp_path)


@pytest.fixture
def keyring(party: Party, address: Address) -> Path:
    """A client's, who may come."""
    return party.client("laptop", address)


@pytest.fixture
def raw(keyring: Path, address: Address) -> Iterator[Callable[..., Raw]]:
    """Makes clients by hand with the key of the laptop."""
    with raw_clients() as make:
        yield lambda **options: make(address, keyring, **options)


@asynccontextmanager
async def listening(
    party: Party, address: Address, tuning: Tuning | None = None, **options: Any
) -> AsyncIterator[tuple[ZeroMQTransport, list[Recorder]]]:
    """A listener, and the handlers of the links that it accepted; all ended at the end."""
    accepted: list[Recorder] = []

    def factory() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    transport = ZeroMQTransport(party.server_file, tuning)
    listener = await transport.listen(address, factory, LinkOptions(**options))
    try:
        yield transport, accepted
    finally:
        listener.close()
        for handler in accepted:
            handler.opened_link.abort()
        await until(lambda: all(handler.error for handler in accepted))
        assert transport._doors == {}


@asynccontextmanager
async def served(party: Party, address: Address, tuning: Tuning | None = None, **fields: Any) -> AsyncIterator[Server]:
    transport = ZeroMQTransport(party.server_file, tuning)
    async with Server(ServerSpec(str(address), transport=transport, **fields), VERBS, clock=SystemClock()) as server:
        yield server


async def opened(client: Raw, accepted: list[Recorder]) -> Recorder:
    """The handler of the link of that client by hand, the only one of its kind."""
    before = len(accepted)
    client.say(pieces.OPEN)
    await until(lambda: len(accepted) > before and accepted[-1].link)
    await until(lambda: client.sock.poll(0))
    assert client.heard() == pieces.OPEN
    return accepted[-1]


# --- the end of a peer


def test_a_client_that_is_killed_is_seen_at_once(party: Party, keyring: Path, address: Address) -> None:
    async def history() -> float:
        async with listening(party, address) as (_, accepted):
            with ExitStack() as stack:
                process = await asyncio.to_thread(stack.enter_context, peer("dial", keyring, str(address)))
                await until(lambda: accepted and accepted[0].frames)
                process.kill()
                start = time.monotonic()
                await until(lambda: accepted[0].error)
                return time.monotonic() - start

    assert asyncio.run(history()) < 1.0


def test_a_server_that_is_killed_is_seen_at_once(party: Party, keyring: Path, address: Address) -> None:
    async def history() -> float:
        with ExitStack() as stack:
            process = await asyncio.to_thread(stack.enter_context, peer("serve", party.server_file, str(address)))
            near = Recorder()
            await ZeroMQTransport(keyring).dial(address, near, LinkOptions())
            process.kill()
            start = time.monotonic()
            await until(lambda: near.error)
            return time.monotonic() - start

    assert asyncio.run(history()) < 1.0


def test_a_server_that_is_stopped_is_noticed_by_its_heartbeat(party: Party, keyring: Path, address: Address) -> None:
    async def history() -> None:
        with ExitStack() as stack:
            process = await asyncio.to_thread(stack.enter_context, peer("serve", party.server_file, str(address)))
            near = Recorder()
            tuning = Tuning(heartbeat=0.1, heartbeat_timeout=0.2)
            await ZeroMQTransport(keyring, tuning).dial(address, near, LinkOptions())
            process.send_signal(signal.SIGSTOP)
            await until(lambda: near.error)

    asyncio.run(history())


def test_a_client_that_is_stopped_is_noticed_by_its_heartbeat(party: Party, keyring: Path, address: Address) -> None:
    async def history() -> None:
        async with listening(party, address, Tuning(heartbeat=0.1, heartbeat_timeout=0.2)) as (_, accepted):
            with ExitStack() as stack:
                process = await asyncio.to_thread(stack.enter_context, peer("dial", keyring, str(address)))
                await until(lambda: accepted and accepted[0].frames)
                process.send_signal(signal.SIGSTOP)
                await until(lambda: accepted[0].error)

    asyncio.run(history())


def test_a_peer_that_lives_and_says_nothing_stays(party: Party, keyring: Path, address: Address) -> None:
    async def history() -> None:
        tuning = Tuning(handshake=0.3, heartbeat=0.1, heartbeat_timeout=0.2)
        async with listening(party, address, tuning) as (transport, accepted):
            near = Recorder()
            await ZeroMQTransport(keyring, tuning).dial(address, near, LinkOptions())
            for count in (1, 2):  # longer than all of them: twice somebody else is cut for silence
                with socket.create_connection(address.host_and_port):
                    await until(lambda count=count: transport.statistics()["accepted"] == 1 + count)
                    await until(lambda: transport.statistics()["waiting"] == 0)
            near.opened_link.send(numbered(1)[0])
            await until(lambda: accepted[0].frames)
            near.opened_link.abort()

    asyncio.run(history())


# --- peers that say nothing


def test_a_connection_without_handshake_is_cut(party: Party, address: Address) -> None:
    async def history() -> None:
        async with listening(party, address, Tuning(handshake=0.2)) as (transport, _):
            with socket.create_connection(address.host_and_port) as sock:
                sock.setblocking(False)
                await until(lambda: transport.statistics()["accepted"] == 1)
                await until(lambda: transport.statistics()["waiting"] == 0)
                await until(lambda: is_at_end(sock))

    asyncio.run(history())


def is_at_end(sock: socket.socket) -> bool:
    try:
        while sock.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


def test_a_handshake_without_link_is_cut(party: Party, address: Address, raw: Callable[..., Raw]) -> None:
    async def history() -> None:
        async with listening(party, address, Tuning(handshake=0.2)) as (transport, accepted):
            client = raw()
            await until(lambda: transport.statistics()["admitted"] == 1)
            await until(lambda: client.is_cut)
            assert transport.statistics()["cut_silent"] == 1
            assert accepted == []

    asyncio.run(history())


def test_a_crowd_that_waits_does_not_keep_out_who_speaks(party: Party, keyring: Path, address: Address) -> None:
    async def history() -> None:
        async with listening(party, address, Tuning(waiting=5, handshake=2.0)) as (transport, _):
            client, near = ZeroMQTransport(keyring), Recorder()
            with ExitStack() as stack:
                for number in range(20):
                    stack.enter_context(socket.create_connection(address.host_and_port))
                    await until(lambda number=number: transport.statistics()["accepted"] == number + 1)
                assert transport.statistics()["waiting"] == 5
                assert transport.statistics()["cut_crowd"] == 15
                async with asyncio.timeout(1.8):  # sooner than their patience ends
                    while near.link is None:
                        with suppress(Disconnected):
                            await client.dial(address, near, LinkOptions())
                near.opened_link.abort()
            assert transport.statistics()["cut_silent"] == 0

    asyncio.run(history())


def test_a_herd_comes_in_though_not_all_at_once(party: Party, keyring: Path, address: Address) -> None:
    count = 60

    async def history() -> None:
        spec = ConnSpec(str(address), transport=ZeroMQTransport(keyring))
        herd = [
            Connection(spec, clock=SystemClock(), rng=random.Random(number), notify=lambda event: None)
            for number in range(count)
        ]
        async with served(party, address, Tuning(waiting=8)):
            for connection in herd:
                connection.connect(1)
            await until(lambda: all(connection.state is State.UP for connection in herd), within=20.0)
            for connection in herd:
                await connection.term()

    asyncio.run(history())


def test_a_server_that_accepts_and_says_nothing_is_given_up(keyring: Path, address: Address) -> None:
    async def history() -> None:
        with socket.create_server(address.host_and_port), pytest.raises(Disconnected):
            await ZeroMQTransport(keyring, Tuning(handshake=0.2)).dial(address, Recorder(), LinkOptions())

    asyncio.run(history())


# --- peers that have a key and break the rules


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        ((b"\x02hello",), {}),
        ((b"",), {}),
        ((pieces.OPEN[:3],), {}),
        ((pieces.OPEN, b"more"), {}),
        ((pieces.OPEN,), {"ROUTING_ID": None}),
        ((pieces.OPEN,), {"ROUTING_ID": b"chosen"}),
    ],
)
def test_who_does_not_open_as_the_rules_say_is_cut(
    party: Party, address: Address, raw: Callable[..., Raw], parts: tuple[bytes, ...], options: dict[str, Any]
) -> None:
    async def history() -> None:
        async with listening(party, address) as (transport, accepted):
            client = raw(**options)
            client.say(*parts)
            await until(lambda: client.is_cut)
            assert transport.statistics()["cut_strange"] == 1
            assert accepted == []

    asyncio.run(history())


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"\x00",),
        (b"\x09",),
        (pieces.OPEN,),
        (pieces.piece(b""),),
        (b"\x03",),
        (pieces.credit(1),),
        (pieces.piece(b"x"), b"more"),
    ],
)
def test_nonsense_is_told_as_a_fault_of_the_protocol(
    party: Party, address: Address, raw: Callable[..., Raw], parts: tuple[bytes, ...]
) -> None:
    async def history() -> None:
        async with listening(party, address) as (_, accepted):
            client = raw()
            far = await opened(client, accepted)
            client.say(*parts)
            await until(lambda: far.fault)
            assert isinstance(far.fault, ProtocolFault)
            client.say_frames(numbered(1)[0])
            client.say(b"\x00")
            far.opened_link.abort()
            await until(lambda: client.is_cut)
            assert (far.frames, far.log.count("garbled")) == ([], 1)

    asyncio.run(history())


def test_a_message_over_the_limit_ends_the_connection(party: Party, address: Address, raw: Callable[..., Raw]) -> None:
    async def history() -> None:
        async with listening(party, address) as (_, accepted):
            client = raw()
            far = await opened(client, accepted)
            client.say(pieces.piece(bytes(pieces.PIECE + 1)))
            await until(lambda: client.is_cut and far.error)
            assert far.frames == []

    asyncio.run(history())


def test_a_frame_over_the_limit_is_refused_from_its_length(
    party: Party, address: Address, raw: Callable[..., Raw]
) -> None:
    async def history() -> None:
        async with listening(party, address, max_frame=2000) as (_, accepted):
            client = raw()
            far = await opened(client, accepted)
            client.say_frames(b"\x00\x00\x08\x00")
            await until(lambda: far.fault)
            assert isinstance(far.fault, FrameTooLarge)

    asyncio.run(history())


def test_who_sends_more_than_the_window_to_a_held_link_breaks_the_rules(
    party: Party, address: Address, raw: Callable[..., Raw]
) -> None:
    async def history() -> None:
        async with listening(party, address) as (_, accepted):
            client = raw(SNDHWM=0)
            far = await opened(client, accepted)
            far.opened_link.hold()
            whole = encode(Cast("x", b"x" * (pieces.PIECE - 20)))
            for _ in range(pieces.WINDOW // pieces.PIECE + 1):
                client.say_frames(whole[: pieces.PIECE])
            await until(lambda: far.fault)
            assert far.frames == []

    asyncio.run(history())


def test_who_gives_credit_for_what_it_does_not_read_is_cut(
    party: Party, address: Address, raw: Callable[..., Raw]
) -> None:
    async def history() -> None:
        async with listening(party, address) as (transport, accepted):
            client = raw(RCVHWM=1, RCVBUF=4096)
            far = await opened(client, accepted)
            link: Any = far.opened_link
            for data in numbered(400, 1_000_000):
                link.send(data)
                # All that was sent, as if it had been read.
                link.arrived(pieces.credit(link._outflow._sent))
                if transport.statistics()["cut_liars"]:
                    break
            await until(lambda: far.error)
            assert transport.statistics()["cut_liars"] >= 1

    asyncio.run(history())


def test_a_slow_reader_is_closed_by_the_server(party: Party, address: Address, raw: Callable[..., Raw]) -> None:
    async def history() -> None:
        async with served(party, address, slow_after=0.3) as server:
            client = raw()
            client.say(pieces.OPEN)
            client.say_frames(HELLO)
            for number in range(1, 9):
                client.say_frames(encode(Call(number, "large", 1_000_000)))
            await until(lambda: client.is_cut)
            assert server.statistics()["slow_readers"] == 1
            await until(lambda: server.statistics()["connections"] == 0)

    asyncio.run(history())


def test_a_link_without_hello_is_closed_by_the_server(party: Party, address: Address, raw: Callable[..., Raw]) -> None:
    async def history() -> None:
        async with served(party, address, hello_timeout=0.2) as server:
            client = raw()
            client.say(pieces.OPEN)
            await until(lambda: client.is_cut)
            assert server.statistics()["protocol_faults"] == 1

    asyncio.run(history())


# --- many, and the end of the listener


def test_a_thousand_connections(party: Party, address: Address, keyring: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 16384 else max(soft, 16384), hard))
    count = 1000

    async def history() -> None:
        transport = ZeroMQTransport(keyring)
        spec = ConnSpec(str(address), transport=transport, hello_timeout=30.0)
        connections = [
            Connection(spec, clock=SystemClock(), rng=random.Random(number), notify=lambda event: None)
            for number in range(count)
        ]
        async with served(party, address, Tuning(handshake=30.0), max_connections=count) as server:
            try:
                for connection in connections:
                    connection.connect(1)
                await until(lambda: all(connection.state is State.UP for connection in connections), within=40.0)
                assert server.statistics()["connections"] == count
                answers = await asyncio.gather(*(one.call("large", 100, type=bytes) for one in connections))
                assert answers == [b"x" * 100] * count
            finally:
                for connection in connections:
                    await connection.term()
            await until(lambda: server.statistics()["connections"] == 0, within=10.0)

    try:
        asyncio.run(history())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_it_fails_cleanly_and_works_again_with_some(
    party: Party, keyring: Path, address: Address
) -> None:
    async def history() -> None:
        transport, client = ZeroMQTransport(party.server_file), ZeroMQTransport(keyring)
        for spare in range(24):
            with few_descriptors(spare):
                try:
                    listener = await transport.listen(address, Recorder, LinkOptions())
                except StorageFailed:
                    assert transport._doors == {}
                else:
                    assert spare >= DESCRIPTORS
                    listener.close()
                with pytest.raises(Disconnected):
                    await client.dial(address, Recorder(), LinkOptions())
        listener = await transport.listen(address, Recorder, LinkOptions())
        near = Recorder()
        await client.dial(address, near, LinkOptions())
        near.opened_link.abort()
        await until(lambda: near.error)
        listener.close()
        await until(lambda: not transport._doors)

    asyncio.run(history())


@contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Only that many more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


def test_a_listener_that_closed_keeps_its_port_for_its_links_and_no_longer(
    party: Party, keyring: Path, address: Address
) -> None:
    async def history() -> None:
        transport, other = ZeroMQTransport(party.server_file), ZeroMQTransport(party.server_file)
        listener = await transport.listen(address, Recorder, LinkOptions())
        near = Recorder()
        await ZeroMQTransport(keyring).dial(address, near, LinkOptions())
        listener.close()
        with pytest.raises(Disconnected):
            await ZeroMQTransport(keyring).dial(address, Recorder(), LinkOptions())
        with pytest.raises(AlreadyExists):
            await other.listen(address, Recorder, LinkOptions())
        near.opened_link.close()
        await until(lambda: near.error and not transport._doors)
        for _ in range(20):  # and at once
            (await other.listen(address, Recorder, LinkOptions())).close()

    asyncio.run(history())


def test_nothing_is_left_when_all_is_closed(party: Party, keyring: Path, address: Address) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    async def history() -> None:
        before = held()
        async with listening(party, address) as (_, accepted):
            near = Recorder()
            await ZeroMQTransport(keyring).dial(address, near, LinkOptions())
            near.opened_link.send(numbered(1)[0])
            near.opened_link.close()
            await until(lambda: near.error and accepted and accepted[0].error)
            assert len(accepted[0].frames) == 1
        await until(lambda: held() <= before)

    asyncio.run(history())
