"""What ZeroMQ links say below the frames: messages, windows, credit."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.conn.zeromq import pieces
from svcmgr.conn.zeromq.pieces import COST, PIECE, WINDOW, Inflow, Kind, Outflow
from svcmgr.errors import ProtocolFault


@given(
    st.lists(
        st.one_of(st.binary(max_size=300), st.sampled_from([1, PIECE - 1, PIECE, PIECE + 1, 3 * WINDOW])), max_size=30
    )
)
def test_all_arrives_in_order_and_never_more_than_the_window_is_under_way(writes: list[bytes | int]) -> None:
    stream = [bytes([number]) * write if isinstance(write, int) else write for number, write in enumerate(writes)]
    out, inflow, under_way, seen = Outflow(WINDOW), Inflow(), [], b""
    for data in stream:
        under_way += out.put(data)
        assert sum(max(len(message) - 1, COST) for message in under_way) <= WINDOW
    while under_way:
        message = under_way.pop(0)
        assert 1 < len(message) <= 1 + PIECE
        assert pieces.kind_of(message) is Kind.PIECE
        cost = inflow.came(len(message) - 1)
        seen += message[1:]
        credit = inflow.take(cost)
        if credit is not None:
            under_way += out.credit(pieces.total_of(credit))
    assert out.waiting == 0
    assert seen == b"".join(stream)


def test_what_is_held_back_is_the_backlog() -> None:
    out = Outflow(WINDOW)
    sent = out.put(b"x" * (WINDOW + 1000))
    assert sum(len(message) - 1 for message in sent) == WINDOW
    assert out.waiting == 1000
    out.clear()
    assert out.waiting == 0
    assert out.credit(WINDOW) == []


def test_small_pieces_have_a_price() -> None:
    out = Outflow(WINDOW)
    assert sum(len(out.put(b"x")) for _ in range(WINDOW)) == WINDOW // COST == pieces.PIECES_UNDER_WAY
    # And what waited goes as few large ones.
    (message,) = out.credit(WINDOW)[:1]
    assert len(message) == 1 + PIECE


def test_credit_comes_by_the_quarter() -> None:
    inflow = Inflow()
    given = [inflow.take(inflow.came(PIECE)) for _ in range(WINDOW // PIECE)]
    totals = [pieces.total_of(credit) for credit in given if credit is not None]
    assert totals == [WINDOW // 4, WINDOW // 2, WINDOW * 3 // 4, WINDOW]


@pytest.mark.parametrize("totals", [[1], [WINDOW + 1], [PIECE + 1], [PIECE, PIECE - 1], [2**64 - 1]])
def test_credit_for_what_was_not_sent_or_less_than_before_is_a_breach(totals: list[int]) -> None:
    out = Outflow(WINDOW)
    if totals != [1]:
        out.put(b"x" * PIECE)
    *good, bad = totals
    for total in good:
        out.credit(total)
    with pytest.raises(ProtocolFault):
        out.credit(bad)


def test_more_than_the_window_is_a_breach_whatever_was_taken_and_not_yet_credited() -> None:
    inflow = Inflow()
    for _ in range(WINDOW // PIECE):
        inflow.came(PIECE)
    with pytest.raises(ProtocolFault):
        inflow.came(1)


@pytest.mark.parametrize("size", [0, -1, PIECE + 1])
def test_a_piece_has_a_size(size: int) -> None:
    with pytest.raises(ProtocolFault):
        Inflow().came(size)


def opening(kind: int = Kind.OPEN, version: int = pieces.VERSION, window: int = WINDOW) -> bytes:
    return struct.pack(">BHI", kind, version, window)


def test_the_opening_may_grow_and_a_giant_window_is_not_used() -> None:
    assert pieces.window_of(pieces.OPEN) == WINDOW
    assert pieces.window_of(opening(window=PIECE) + b"more") == PIECE
    assert pieces.window_of(opening(window=2**32 - 1)) == pieces.WINDOW_MAX


@pytest.mark.parametrize(
    "message",
    [b"", b"\x01", pieces.OPEN[:-1], opening(kind=2), opening(version=2), opening(window=0), opening(window=PIECE - 1)],
)
def test_what_is_no_opening_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolFault):
        pieces.window_of(message)


@pytest.mark.parametrize("message", [b"", b"\x00", b"\x05", b"\xff" * 40])
def test_unknown_messages_are_refused(message: bytes) -> None:
    with pytest.raises(ProtocolFault):
        pieces.kind_of(message)


@pytest.mark.parametrize("message", [b"\x03", b"\x03" + bytes(7), b"\x03" + bytes(9)])
def test_credits_have_one_size(message: bytes) -> None:
    with pytest.raises(ProtocolFault):
        pieces.total_of(message)
