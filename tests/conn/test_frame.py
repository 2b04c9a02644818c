"""Frames: round trips, splits, limits, hostile bytes."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.conn import frame as wire
from svcmgr.conn.frame import FrameDecoder, decode_value, encode
from svcmgr.errors import BadInput, ConnectionFault, FrameTooLarge, ProtocolFault

RAW = msgspec.Raw(b"\xc0")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(max_size=255)
IDS = st.integers(1, 2**63 - 1)
FRAMES = st.one_of(
    st.builds(wire.Hello, st.integers(0, 99), NAMES, st.integers(0, 2**40), st.integers(1024, 2**40), IDS),
    st.builds(wire.Call, IDS, NAMES, VALUES, st.integers(0, 2**40)),
    st.builds(wire.Reply, IDS, VALUES),
    st.builds(wire.Fault, st.integers(0, 2**40), NAMES, st.text(), st.dictionaries(st.text(), VALUES, max_size=3)),
    st.builds(wire.Cast, NAMES, VALUES),
    st.builds(wire.Event, NAMES, VALUES),
    st.builds(wire.Ping, st.integers(0, 2**64 - 1)),
    st.builds(wire.Pong, st.integers(0, 2**64 - 1)),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def feed_all(decoder: FrameDecoder, parts: list[bytes]) -> tuple[list[bytes], str | None]:
    """What came out, re-encoded so that raw fields compare, and the code of the fault."""
    out: list[bytes] = []
    for part in parts:
        try:
            out += [encode(frame) for frame in decoder.feed(part)]
        except ConnectionFault:
            break
    return out, decoder.fault.code if decoder.fault else None


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 400), max_size=12))
def test_any_split_gives_the_same_frames(frames: list[wire.Frame], cuts: list[int]) -> None:
    data = b"".join(encode(frame) for frame in frames)
    decoder = FrameDecoder()
    out, fault = feed_all(decoder, pieces(data, cuts))
    assert b"".join(out) == data
    assert fault is None
    assert decoder.unfinished == 0


@given(st.lists(FRAMES, max_size=3), st.binary(max_size=60), st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=300)
def test_arbitrary_bytes_end_the_same_way_however_they_are_split(
    frames: list[wire.Frame], junk: bytes, cuts: list[int]
) -> None:
    data = b"".join(encode(frame) for frame in frames) + junk
    whole = feed_all(FrameDecoder(512), [data, b""])
    split = feed_all(FrameDecoder(512), [*pieces(data, cuts), b""])
    assert split == whole


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_a_body_of_arbitrary_bytes_is_a_frame_or_a_protocol_fault(body: bytes) -> None:
    decoder = FrameDecoder()
    try:
        frames = decoder.feed(struct.pack(">I", len(body)) + body)
    except ProtocolFault:
        return
    assert len(frames) == 1


@given(st.integers(0, 7), st.binary(max_size=100))
@settings(max_examples=500)
def test_arbitrary_fields_behind_a_valid_tag_are_a_frame_or_a_protocol_fault(tag: int, fields: bytes) -> None:
    for arity in range(8):
        body = bytes([0x90 | arity, tag]) + fields
        decoder = FrameDecoder()
        try:
            decoder.feed(struct.pack(">I", len(body)) + body)
        except ProtocolFault:
            continue
        assert decoder.fault is None


def test_two_gigabytes_are_refused_from_the_four_bytes_that_announce_them() -> None:
    decoder = FrameDecoder()
    with pytest.raises(FrameTooLarge) as caught:
        decoder.feed(b"\x80\x00\x00\x00")
    assert caught.value.details == {"size": 2**31, "limit": wire.MAX_FRAME}
    assert decoder.unfinished == 0
    with pytest.raises(FrameTooLarge):
        decoder.feed(b"more")
    assert decoder.unfinished == 0


@pytest.mark.parametrize("frame", [wire.Hello(1, "n" * 256), wire.Call(1, "v" * 256, None), wire.Event("t" * 256, 1)])
def test_names_the_peer_would_refuse_are_not_sent(frame: wire.Frame) -> None:
    with pytest.raises(BadInput):
        encode(frame)


def test_the_limit_itself_is_allowed() -> None:
    body = encode(wire.Cast("v", "x" * 50))[4:]
    data = struct.pack(">I", len(body)) + body
    assert FrameDecoder(len(body)).feed(data)
    with pytest.raises(FrameTooLarge):
        FrameDecoder(len(body) - 1).feed(data)
    assert encode(wire.Cast("v", "x" * 50), len(body)) == data
    with pytest.raises(FrameTooLarge):
        encode(wire.Cast("v", "x" * 50), len(body) - 1)


def test_frames_before_the_bad_one_are_given_first() -> None:
    decoder = FrameDecoder()
    frames = decoder.feed(encode(wire.Ping(1)) + b"\x00\x00\x00\x01\xc1")
    assert frames == [wire.Ping(1)]
    assert isinstance(decoder.fault, ProtocolFault)
    with pytest.raises(ProtocolFault):
        decoder.feed(b"")


def test_an_empty_body_is_no_frame() -> None:
    with pytest.raises(ProtocolFault):
        FrameDecoder().feed(b"\x00\x00\x00\x00")


def test_half_a_frame_is_counted_as_unfinished() -> None:
    data = encode(wire.Cast("verb", "x" * 100))
    decoder = FrameDecoder()
    assert decoder.feed(data[:50]) == []
    assert decoder.unfinished == 50
    assert len(decoder.feed(data[50:])) == 1
    assert decoder.unfinished == 0


def test_a_frame_does_not_refer_to_the_buffer_it_was_read_into() -> None:
    buffer = bytearray(encode(wire.Reply(1, {"a": 1})))
    (frame,) = FrameDecoder().feed(memoryview(buffer))
    buffer[:] = b"\xff" * len(buffer)
    assert isinstance(frame, wire.Reply)
    assert decode_value(frame.result, dict[str, int], "it") == {"a": 1}


def test_fields_a_newer_peer_appends_are_skipped() -> None:
    body = msgspec.msgpack.encode([7, 12, "later", {"more": 1}])
    assert FrameDecoder().feed(struct.pack(">I", len(body)) + body) == [wire.Pong(12)]


@pytest.mark.parametrize("body", [b"\x91" * 100_000 + b"\xc0", b"\x93\x01\x01" + b"\x91" * 100_000, b"\x92\x63\x01"])
def test_deep_nesting_and_unknown_tags_are_protocol_faults(body: bytes) -> None:
    with pytest.raises(ProtocolFault):
        FrameDecoder().feed(struct.pack(">I", len(body)) + body)


@pytest.mark.parametrize("value", [object(), 2**70, {"a": {1, object()}}])
def test_values_that_cannot_travel_are_the_callers_fault(value: object) -> None:
    with pytest.raises(BadInput):
        encode(wire.Call(1, "verb", value))


class Request(msgspec.Struct):
    names: list[str]
    timeout_s: float = 1.0


def test_a_value_that_does_not_fit_names_the_field() -> None:
    raw = msgspec.msgpack.encode({"names": ["a", 3]})
    with pytest.raises(BadInput) as caught:
        decode_value(raw, Request, "the request")
    assert caught.value.details["field"] == "$.names[1]"


@pytest.mark.parametrize("raw", [b"\xa1\xff", b"\x81\x81\x01\x01\x01", b"\x91" * 50_000 + b"\xc0", b"\xc1", b""])
def test_values_that_are_not_messagepack_are_a_typed_error(raw: bytes) -> None:
    with pytest.raises(BadInput):
        decode_value(raw, object, "it")
