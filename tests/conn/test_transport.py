"""Addresses, and the memory transport against the rules for all transports."""

from __future__ import annotations

import random

import pytest

from svcmgr.conn.memory import FaultPlan, MemoryNetwork
from svcmgr.conn.resolve import resolve
from svcmgr.conn.transport import Address, Transport
from svcmgr.conn.unix import UnixTransport
from svcmgr.errors import BadInput
from tests.kit import conformance
from tests.kit.vloop import run


@pytest.mark.parametrize("plan", [FaultPlan(), FaultPlan(delay=0.01), FaultPlan(delay=0.01, jitter=0.05)])
@pytest.mark.parametrize("check", conformance.CHECKS)
def test_memory_conforms(check: object, plan: FaultPlan) -> None:
    def make() -> tuple[Transport, Address]:
        return MemoryNetwork(plan, rng=random.Random(3)), Address.parse("mem:x")

    run(check(*make()))  # type: ignore[operator]


def test_lost_frames_are_lost_and_the_rest_keeps_its_order() -> None:
    async def history() -> list[str]:
        network = MemoryNetwork(FaultPlan(loss=0.5), rng=random.Random(1))
        async with conformance.connected(network, Address.parse("mem:x")) as pair:
            for data in conformance.numbered(100):
                pair.near.opened_link.send(data)
            network.plan = FaultPlan()
            pair.near.opened_link.send(conformance.numbered(1)[0])
            await conformance.until(lambda: pair.far.frames and pair.far.frames[-1].verb == "0")
            return [frame.verb for frame in pair.far.frames[:-1]]

    arrived = run(history())
    assert 20 < len(arrived) < 80
    assert arrived == sorted(arrived, key=int)


def test_freeze_holds_everything_back_and_cut_ends_it() -> None:
    async def history() -> None:
        network = MemoryNetwork()
        async with conformance.connected(network, Address.parse("mem:x")) as pair:
            network.freeze("x")
            pair.near.opened_link.send(conformance.numbered(1)[0])
            await conformance.turns(30)
            assert pair.far.frames == []
            network.thaw("x")
            await conformance.until(lambda: pair.far.frames)
            network.cut("x")
            await conformance.until(lambda: pair.near.error and pair.far.error)

    run(history())


@pytest.mark.parametrize("text", ["unix:/run/x.sock", "mem:a", "unix:/" + "x" * 106])
def test_addresses_are_read_and_written_alike(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix",
        "unix:",
        "unix:relative",
        "unix:/" + "x" * 107,
        "unix:/" + "ü" * 60,
        "unix:/a\0b",
        "mem:",
        "http://x",
        "tcp:",
        "tcp://",
        "tcp://h",
        "tcp://h:",
        "tcp://:1",
        "tcp:h:1",
        "tcp://h:65536",
        "tcp://h:-1",
        "tcp://h:1/x",
        "tcp://::1:5",
        "tcp://[h]:1",
        "tcp://a b:1",
        "tcp://*:1",
        "tcp://h:\u0661",
        "tcp://h:1\n",
    ],
)
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp://host-1.example:7711", "host-1.example", 7711),
        ("tcp://10.0.0.1:0", "10.0.0.1", 0),
        ("tcp://[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ("tcp://[::]:1", "::", 1),
    ],
)
def test_tcp_addresses_have_host_and_port(text: str, host: str, port: int) -> None:
    assert Address.parse(text).host_and_port == (host, port)
    assert str(Address.parse(text)) == text


def test_the_address_decides_the_transport() -> None:
    assert isinstance(resolve(Address.parse("unix:/x")), UnixTransport)
    for text in ("mem:x", "tcp://host:1"):
        with pytest.raises(BadInput):
            resolve(Address.parse(text))


@pytest.mark.parametrize("fields", [{"delay": -1}, {"loss": 2}, {"jitter": -0.1}])
def test_impossible_fault_plans_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        FaultPlan(**fields)
