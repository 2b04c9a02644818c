"""What every implementation of a seam must do, as code. A transport that passes here fits the RPC above it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from svcmgr.conn.frame import Cast, Frame, encode
from svcmgr.conn.transport import Address, Link, LinkOptions, Listener, Transport
from svcmgr.errors import AlreadyExists, ConnectionFault, Disconnected, FrameTooLarge, ProtocolFault, SvcmgrError
from tests.kit.vloop import turns, until


@attrs.define
class Recorder:
    """A link handler that writes down what it is told, and optionally reacts."""

    link: Link | None = None
    frames: list[Frame] = attrs.field(factory=list)
    log: list[str] = attrs.field(factory=list)
    unfinished: int = 0
    error: SvcmgrError | None = None
    fault: ConnectionFault | None = None
    on_opened: Callable[[Link], None] | None = None

    def opened(self, link: Link) -> None:
        self.link = link
        self.log.append("opened")
        if self.on_opened:
            self.on_opened(link)

    def received(self, frames: list[Frame], unfinished: int) -> None:
        assert self.error is None
        self.frames += frames
        self.unfinished = unfinished

    def garbled(self, error: ConnectionFault) -> None:
        self.fault = error
        self.log.append("garbled")

    def choked(self) -> None:
        self.log.append("choked")

    def drained(self) -> None:
        self.log.append("drained")

    def closed(self, error: SvcmgrError) -> None:
        assert self.error is None
        self.error = error
        self.log.append("closed")

    @property
    def opened_link(self) -> Link:
        assert self.link is not None
        return self.link


@attrs.define
class Pair:
    """Both ends of one link, and the listener it came from."""

    near: Recorder
    far: Recorder
    listener: Listener


@asynccontextmanager
async def connected(transport: Transport, address: Address, **options: Any) -> Any:
    """A dialled link, closed at the end."""
    accepted: list[Recorder] = []

    def factory() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    listener = await transport.listen(address, factory, LinkOptions(**options))
    near = Recorder()
    try:
        await transport.dial(address, near, LinkOptions(**options))
        assert near.log == ["opened"]
        await until(lambda: accepted and accepted[0].link is not None)
        yield Pair(near, accepted[0], listener)
    finally:
        await turns(20)  # connections on their way are accepted
        listener.close()
        for end in (near, *accepted):
            if end.link is not None:
                end.link.abort()
        await until(lambda: all(end.error for end in (near, *accepted) if end.link is not None))


def numbered(count: int, size: int = 0) -> list[bytes]:
    return [encode(Cast(str(number), "x" * size)) for number in range(count)]


async def check_transport(make: Callable[[], tuple[Transport, Address]]) -> None:
    """Run every check on a fresh transport and an address nobody listens on, both given by ``make()``."""
    for check in CHECKS:
        await check(*make())


async def refuses_when_nobody_listens(transport: Transport, address: Address) -> None:
    handler = Recorder()
    with pytest.raises(Disconnected):
        await transport.dial(address, handler, LinkOptions())
    assert handler.log == []


async def carries_frames_in_order_both_ways(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        for data in numbered(200):
            pair.near.opened_link.send(data)
            pair.far.opened_link.send(data)
        await until(lambda: len(pair.near.frames) == len(pair.far.frames) == 200)
        for end in (pair.near, pair.far):
            assert [frame.verb for frame in end.frames] == [str(number) for number in range(200)]


async def carries_large_frames(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        data = encode(Cast("large", b"\xa5" * 5_000_000))
        pair.near.opened_link.send(data)
        await until(lambda: pair.far.frames)
        assert encode(pair.far.frames[0]) == data


async def names_the_peer(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        near, far = pair.near.opened_link.peer, pair.far.opened_link.peer
        assert near.pid > 0 or near.key
        # A peer without a uid of this host must never look like one that has: uid 0 may do all.
        assert far.uid >= 0 if not far.key else (far.uid == far.gid == -1 and far.scope is not None)


async def close_sends_what_waits_and_is_told_on_both_sides_once(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        for data in numbered(50, 100_000):
            pair.near.opened_link.send(data)
        pair.near.opened_link.close()
        pair.near.opened_link.close()
        pair.near.opened_link.send(numbered(1)[0])  # too late: does nothing
        await until(lambda: pair.near.error and pair.far.error)
        assert len(pair.far.frames) == 50
        assert pair.near.log.count("closed") == pair.far.log.count("closed") == 1
        pair.near.opened_link.abort()
        pair.near.opened_link.hold()
        pair.near.opened_link.go_on()
        await turns()


async def abort_is_told_on_both_sides(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        pair.far.opened_link.abort()
        await until(lambda: pair.near.error and pair.far.error)


async def last_words_reach_a_peer_that_writes(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        pair.near.opened_link.send(numbered(1)[0])
        pair.far.opened_link.send(numbered(1)[0])
        pair.far.opened_link.close(linger=2.0)
        await until(lambda: pair.near.error)
        assert len(pair.near.frames) == 1
        await until(lambda: pair.far.error)


async def lingering_ends_though_the_peer_stays(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        pair.near.opened_link.hold()  # so that it does not see the end of file
        pair.far.opened_link.close(linger=0.2)
        await until(lambda: pair.far.error)


async def a_reader_that_holds_chokes_the_writer_and_loses_nothing(transport: Transport, address: Address) -> None:
    async with connected(transport, address, write_high=100_000) as pair:
        pair.far.opened_link.hold()
        pair.far.opened_link.hold()
        for data in numbered(40, 50_000):
            pair.near.opened_link.send(data)
        await until(lambda: "choked" in pair.near.log)
        assert pair.near.opened_link.backlog > 100_000
        await turns(50)
        seen = len(pair.far.frames)
        pair.far.opened_link.go_on()
        await until(lambda: "drained" in pair.near.log and len(pair.far.frames) == 40)
        assert seen < 40
        assert pair.near.log.count("choked") == pair.near.log.count("drained") == 1


async def half_frames_are_told_as_unfinished(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        whole, half = numbered(2, 1000)
        pair.near.opened_link.send(whole + half[:500])
        await until(lambda: pair.far.frames)
        assert pair.far.unfinished == 500
        pair.near.opened_link.send(half[500:])
        await until(lambda: len(pair.far.frames) == 2)
        assert pair.far.unfinished == 0


async def what_is_not_a_frame_is_told_after_what_was(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        pair.near.opened_link.send(numbered(1)[0] + b"\x00\x00\x00\x01\xc1")
        await until(lambda: pair.far.fault)
        assert isinstance(pair.far.fault, ProtocolFault)
        assert len(pair.far.frames) == 1
        pair.near.opened_link.send(numbered(1)[0])
        await turns(20)
        assert len(pair.far.frames) == 1
        assert pair.far.log.count("garbled") == 1


async def frames_over_the_limit_are_refused(transport: Transport, address: Address) -> None:
    async with connected(transport, address, max_frame=2000) as pair:
        pair.near.opened_link.send(numbered(1, 5000)[0])
        await until(lambda: pair.far.fault)
        assert isinstance(pair.far.fault, FrameTooLarge)


async def an_address_has_one_listener(transport: Transport, address: Address) -> None:
    async with connected(transport, address) as pair:
        with pytest.raises(AlreadyExists):
            await transport.listen(address, Recorder, LinkOptions())
        pair.listener.close()
        pair.listener.close()
        with pytest.raises(Disconnected):
            await transport.dial(address, Recorder(), LinkOptions())
        again = await transport.listen(address, Recorder, LinkOptions())
        again.close()
        pair.near.opened_link.send(numbered(1)[0])  # what was accepted lives on
        await until(lambda: pair.far.frames)


async def a_handler_may_close_from_any_callback(transport: Transport, address: Address) -> None:
    async with connected(transport, address):
        handler = Recorder(on_opened=lambda link: link.abort())
        await transport.dial(address, handler, LinkOptions())
        await until(lambda: handler.error)


async def a_dial_that_is_cancelled_leaves_nothing(transport: Transport, address: Address) -> None:
    async with connected(transport, address):
        handler = Recorder(on_opened=lambda link: link.abort())
        task = asyncio.ensure_future(transport.dial(address, handler, LinkOptions()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: not handler.log or handler.error)


CHECKS = [
    refuses_when_nobody_listens,
    carries_frames_in_order_both_ways,
    carries_large_frames,
    names_the_peer,
    close_sends_what_waits_and_is_told_on_both_sides_once,
    abort_is_told_on_both_sides,
    last_words_reach_a_peer_that_writes,
    lingering_ends_though_the_peer_stays,
    a_reader_that_holds_chokes_the_writer_and_loses_nothing,
    half_frames_are_told_as_unfinished,
    what_is_not_a_frame_is_told_after_what_was,
    frames_over_the_limit_are_refused,
    an_address_has_one_listener,
    a_handler_may_close_from_any_callback,
    a_dial_that_is_cancelled_leaves_nothing,
]
