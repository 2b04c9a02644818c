"""docs/wire-protocol.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from svcmgr import PROTOCOL, errors
from svcmgr.conn import client, frame, keyring, server, session
from svcmgr.conn.frame import FrameDecoder, encode
from svcmgr.conn.zeromq import arrivals, door, link, pieces, sockets

TEXT = (Path(__file__).parents[2] / "docs" / "wire-protocol.md").read_text()
DUMP = TEXT.split("```hexdump\n")[1].split("```")[0].splitlines()
PAIRS = list(zip(DUMP[::2], DUMP[1::2], strict=True))

EXPECTED: list[frame.Frame] = [
    frame.Hello(PROTOCOL, "cli"),
    frame.Call(1, "status", {"names": ["web*"]}, 10_000),
    frame.Hello(PROTOCOL, "svcmgrd"),
    frame.Reply(1, {"ok": True}),
    frame.Ping(7),
    frame.Pong(7),
    frame.Call(2, "x", None),
    frame.Fault(2, "unknown-verb", "cannot serve", {"verb": "x"}),
    frame.Cast("note", None),
    frame.Event("service", {"n": 1}),
]


@pytest.mark.parametrize(("pair", "expected"), list(zip(PAIRS, EXPECTED, strict=True)), ids=lambda value: "")
def test_the_example_is_what_the_code_says(pair: tuple[str, str], expected: frame.Frame) -> None:
    comment, line = pair
    assert comment.startswith(f"# {type(expected).__name__}")
    data = bytes.fromhex(line[2:])
    (found,) = FrameDecoder().feed(data)
    # Both have raw or plain bodies; encoded again they compare.
    assert encode(found) == encode(expected)
    if "left out" not in comment:
        assert data == encode(expected)
    if isinstance(expected, (frame.Reply, frame.Fault, frame.Event)):
        assert line[0] == "<"
    elif isinstance(expected, (frame.Call, frame.Cast)):
        assert line[0] == ">"


def test_the_table_of_frames_is_complete() -> None:
    part = TEXT.split("## Frames")[1].split("## Hello")[0]
    rows = re.findall(r"^\| (\d) \| (\w+) \| (.*?) \|", part, re.MULTILINE)
    for number, name, fields in rows:
        kind: Any = getattr(frame, name)
        config = msgspec.structs.fields(kind)
        assert kind.__struct_config__.tag == int(number)
        assert re.findall(r"`(\w+)`", fields) == [field.name for field in config]
    assert len(rows) == 8


def test_every_error_code_is_in_the_document_and_no_other() -> None:
    part = TEXT.split("## Faults")[1].split("## Events")[0]
    named = {
        code for row in re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE) for code in re.findall(r"`([^`]+)`", row)
    }
    named |= set(re.findall(r"`([a-z-]+)`", part.split("never travel:")[1]))
    assert named == {cls.code for cls in errors._classes(errors.SvcmgrError) if cls.__module__ == errors.__name__}


def test_the_limits_are_those_of_the_code() -> None:
    spec = server.ServerSpec("mem:x")
    assert (spec.hello_timeout, spec.stall_timeout, spec.slow_after) == (5, 10, 10)
    assert (spec.max_connections, spec.max_in_flight, spec.max_frame) == (256, 64, 16 * 2**20)
    assert (spec.write_high, spec.write_cap) == (2**20, 64 * 2**20)
    assert (frame.MIN_FRAME, frame.MAX_NAME, frame.MAX_FRAME, frame.MAX_IN_FLIGHT) == (1024, 255, 16_777_216, 64)


def test_what_goes_over_zeromq_is_that_of_the_code() -> None:
    part = TEXT.split("## Over ZeroMQ")[1].split("## Statistics")[0]
    rows = re.findall(r"^\| (\d) \| (\w+) \|", part, re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [(kind.value, kind.name) for kind in pieces.Kind]
    sizes = (pieces.VERSION, pieces.PIECE, pieces.COST, pieces.WINDOW, pieces.WINDOW_MIN, pieces.WINDOW_MAX)
    assert sizes == (1, 32_768, 512, 262_144, 32_768, 262_144)
    assert (pieces.MESSAGE_MAX, sockets.SEND_HWM, door.ROUTING_ID_SIZE) == (32_802, 1536, 16)
    assert (arrivals.SHARE, link.END_GRACE, keyring.KEYS_MAX) == (0.25, 1.0, 4)
    assert sockets.Tuning() == sockets.Tuning(handshake=5, heartbeat=10, heartbeat_timeout=30, waiting=512)
    counters = part.split("`ZeroMQTransport.statistics()`")[1]
    assert set(door.COUNTS) | {"withdrawn", "links", "waiting"} == set(re.findall(r"`(\w+)`", counters))
    example = part.split("```toml\n")[1].split("```")[0]
    for number in range(3):
        example = example.replace('"..."', f'"{keyring.write_key(bytes([number] * 32))}"', 1)
    assert keyring.parse(example).keys_at("tcp://host-2:7711") == (bytes([2] * 32),)


def test_every_counter_is_named() -> None:
    part = TEXT.split("## Statistics")[1]
    first, second = part.split("`Connection.statistics()`")
    assert set(server._COUNTS) <= set(re.findall(r"`(\w+)`", first))
    assert set(session._COUNTS) <= set(re.findall(r"`(\w+)`", second))
    assert client.WRITE_CAP == 16 * 2**20
