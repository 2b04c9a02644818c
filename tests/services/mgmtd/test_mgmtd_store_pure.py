"""Keys, records, splitting and retrying: tables and properties."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput, StorageFailed, SvcmgrError, Unsupported
from svcmgr.services.mgmtd.store import (
    Again,
    Delete,
    Limits,
    Patience,
    Put,
    Same,
    StoreClosed,
    StoreConflict,
    StoreCorrupt,
    StoreFull,
    StoreLocked,
    StoreUncertain,
    again,
    keys,
    prefixed,
    records,
    split,
)
from svcmgr.services.mgmtd.store.protocol import check_batch, weight
from tests.kit.clusterdata import config, one_of_each

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
node_types = st.sampled_from(["MGMTD", "META", "STORAGE", "CLIENT", "FUSE"])
universal_ids = st.text(min_size=1, max_size=60)


@given(u32, u32, u64, u64, node_types, universal_ids)
def test_ids_come_back_from_keys(small, other, large, version, node_type, universal_id):
    assert keys.ids_of(keys.node(small)) == (small,)
    assert keys.ids_of(keys.chain(small)) == (small,)
    assert keys.ids_of(keys.table(small, other)) == (small, other)
    assert keys.ids_of(keys.config(node_type, version)) == (node_type, version)
    assert keys.ids_of(keys.target(large)) == (large,)
    assert keys.ids_of(keys.event(large)) == (large,)
    assert keys.ids_of(keys.universal_tags(universal_id)) == (universal_id,)


@given(u64, u64, u32, u32)
def test_order_of_keys_is_order_of_ids(a, b, c, d):
    assert (keys.target(a) < keys.target(b)) == (a < b)
    assert (keys.table(c, 1) < keys.table(d, 1)) == (c < d)
    assert (keys.table(1, c) < keys.table(1, d)) == (c < d)
    assert (keys.config("META", a) < keys.config("META", b)) == (a > b)


@given(u32, u32, u64)
def test_scans_of_one_thing_find_only_it(table, version, large):
    assert keys.table(table, version) in prefixed(keys.tables(table))
    assert keys.table((table + 1) % 2**32, version) not in prefixed(keys.tables(table))
    assert keys.config("META", large) in prefixed(keys.configs("META"))
    assert keys.config("MGMTD", large) not in prefixed(keys.configs("META"))


@pytest.mark.parametrize("key", [
    b"", b"NODE", b"NODE\0\0\0", b"NODE\0\0\0\0\0", b"CHIT\0\0\0\1", b"CONF", b"CONF\1", b"CONF\4META\0",
    b"CONF\5META" + b"\0" * 8, b"CONF\1\xff" + b"\0" * 8, b"UTGS", b"UTGS\xff", b"SINGother", b"XXXX\0\0\0\1",
])  # fmt: skip
def test_keys_of_no_record(key):
    with pytest.raises(BadInput):
        keys.ids_of(key)
    with pytest.raises(StoreCorrupt):
        records.decode(key, records.encode(records.RoutingVersion(1)))
    assert records.named(key).startswith("key ")


@pytest.mark.parametrize("make", [
    lambda: keys.node(-1), lambda: keys.node(2**32), lambda: keys.target(2**64), lambda: keys.table(1, 2**32),
    lambda: keys.universal_tags(""), lambda: keys.universal_tags("x" * 256), lambda: keys.config("", 1),
    lambda: keys.config("X" * 33, 1), lambda: keys.config("META", 2**64),
])  # fmt: skip
def test_ids_that_have_no_key(make):
    with pytest.raises(BadInput):
        make()


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: records.named(record.key))
def test_records_come_back(record):
    value = records.encode(record)
    assert value[:2] == bytes([0xC1, records.FORMAT])
    assert records.decode(record.key, value) == record
    assert records.encode(records.decode(record.key, value)) == value


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: records.named(record.key))
def test_damage_is_named(record):
    value = records.encode(record)
    fields = msgspec.to_builtins(record)
    wrong = [value[:length] for length in range(len(value))] + [
        value + b"\0",
        b"\xc0" + value[1:],
        b"\xc1\0" + value[2:],
    ]
    wrong += [value[:2] + b"\xc1", value[:2] + b"\x91" * 5000, b"\xc1\x02\xc1", b"\xc1\x02" + b"\x91" * 5000]
    wrong += [value[:2] + msgspec.msgpack.encode({**fields, "unknown": 1})]
    wrong += [value[:2] + msgspec.msgpack.encode({**fields, next(iter(fields)): object_of_another_type}) for
              object_of_another_type in (None, [[]], {"a": 1}, -1.5)]  # fmt: skip
    for damaged in wrong:
        with pytest.raises(StoreCorrupt):
            records.decode(record.key, damaged)
    for newer in (records.FORMAT + 1, 255):
        with pytest.raises(Unsupported):
            records.decode(record.key, bytes([0xC1, newer]) + msgspec.msgpack.encode(["what", {"nobody": "knows"}]))


def test_a_record_under_another_key_is_damage():
    chain = records.Chain(7, 1, (records.ChainTarget(1, 1),))
    for key in (keys.chain(8), keys.table(7, 1), keys.node(7), keys.chain(7) + b"\0"):
        with pytest.raises(StoreCorrupt):
            records.decode(key, records.encode(chain))
    wrong_version = config("META", 3, "x")
    with pytest.raises(StoreCorrupt):
        records.decode(keys.config("META", 2), records.encode(wrong_version))


@pytest.mark.parametrize("record", [
    records.Chain(7, 1, ()),
    records.Chain(7, 0, (records.ChainTarget(1, 1),)),
    records.Chain(0, 1, (records.ChainTarget(1, 1),)),
    records.Chain(7, 1, (records.ChainTarget(1, 3),)),
    records.Chain(7, 1, (records.ChainTarget(0, 1),)),
    records.Chain(7, 1, (records.ChainTarget(1, 1), records.ChainTarget(1, 16))),
    records.Chain(7, 1, (records.ChainTarget(1, 1),), (2,)),
    records.Chain(7, 1, (records.ChainTarget(1, 1),), (1, 1)),
    records.ChainTable(1, 1, ()),
    records.ChainTable(1, 1, (0,)),
    records.Node(1, 5),
    records.Node(1, 2, "h" * 256),
    records.Node(1, 2, tags=(records.Tag(""),)),
    records.Config("META", 1, "x", records.sha256_of("y")),
    records.Config("META", 1, "x", "no digest"),
    records.RoutingVersion(-1),
    records.Event(1, float("inf") * -1, "k", "s", "c"),
])  # fmt: skip
def test_records_that_cannot_be(record):
    with pytest.raises(StoreCorrupt):
        records.decode(record.key, records.encode(record))


@given(st.binary(max_size=40), st.binary(max_size=200))
def test_garbage_is_damage_or_newer_and_nothing_else(rest, value):
    for kind in records.KINDS:
        for key in (kind.prefix, kind.prefix + rest):
            try:
                record = records.decode(key, value)
            except (StoreCorrupt, Unsupported):
                continue
            assert record.key == key


LIMITS = Limits(operations=5, size=1000)
sizes = st.lists(st.integers(0, 500), max_size=40)


@given(sizes, st.integers(0, 2), st.integers(0, 2))
def test_splitting_keeps_order_and_limits(values, checks, tail):
    writes = [Put(b"k%02d" % number, b"v" * size) for number, size in enumerate(values)]
    guards = [Same(b"g%d" % number, 1) for number in range(checks)]
    last = [Delete(b"t%d" % number) for number in range(tail)]
    batches = split(writes, guards, last, LIMITS)
    assert [write for batch in batches for write in batch.writes] == writes + last
    for batch in batches:
        check_batch(batch, LIMITS)
        assert batch.checks == tuple(guards)
    assert not last or batches[-1].writes[-len(last) :] == tuple(last)
    total = sum(map(weight, writes + last + guards))
    if len(writes) + len(last) <= LIMITS.operations and total <= LIMITS.size:
        assert len(batches) == 1


def test_splitting_what_must_stay_together_and_cannot():
    for writes, checks, last in [
        ([Put(b"k", b"v" * 1000)], [], []),
        ([Put(b"k", b"v" * 850)], [Same(b"g", 1), Same(b"h", 1)], []),
        ([], [Same(b"%d" % n, 1) for n in range(6)], []),
        ([], [], [Delete(b"%d" % n) for n in range(6)]),
        ([], [], [Put(b"k", b"v" * 1000)]),
    ]:
        with pytest.raises(BadInput):
            split(writes, checks, last, LIMITS)


def test_d03_a_thousand_chains_change_with_one_step_of_the_version():
    etcd = Limits(operations=128, size=3 << 19)
    puts = [Put(keys.chain(n), b"v" * 150) for n in range(1000)]
    batches = split(puts, [Same(keys.LEASE, 7)], [Put(keys.ROUTING_VERSION, b"v")], etcd)
    assert len(batches) == 8
    assert [keys.ROUTING_VERSION in {write.key for write in batch.writes} for batch in batches] == [False] * 7 + [True]
    assert all(batch.checks == (Same(keys.LEASE, 7),) for batch in batches)


@pytest.mark.parametrize(("failures", "delay", "alarm"), [
    (1, 0.01, False), (2, 0.02, False), (5, 0.16, False), (7, 0.64, False), (8, 1.0, False), (9, 1.0, False),
    (10, 1.0, True), (11, 0.01, False), (20, 1.0, True), (1000, 1.0, True),
])  # fmt: skip
def test_delays_double_in_rounds(failures, delay, alarm):
    answer = again(Patience(), failures, StoreLocked("x"), 0.5)
    assert answer == Again(pytest.approx(delay), alarm)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_fifth(failures, chance):
    patience = Patience()
    exact = again(patience, failures, StoreFull("x"), 0.5)
    answer = again(patience, failures, StoreFull("x"), chance)
    assert exact is not None
    assert answer is not None
    assert abs(answer.delay_s - exact.delay_s) <= 0.2 * exact.delay_s + 1e-12


@pytest.mark.parametrize(("error", "retried"), [
    (StoreConflict("x"), True), (StoreLocked("x"), True), (StoreFull("x"), True), (StoreUncertain("x"), True),
    (StorageFailed("x"), True), (StoreCorrupt("x"), False), (StoreClosed("x"), False), (BadInput("x"), False),
    (SvcmgrError("x"), False), (ValueError(), False),
])  # fmt: skip
def test_what_is_tried_again(error, retried):
    assert (again(Patience(), 1, error, 0.5) is not None) == retried


def test_patience_ends():
    patience = Patience(tries=3, rounds=1)
    answers = [again(patience, failures, StoreLocked("x"), 0.5) for failures in range(1, 7)]
    assert [answer and answer.alarm for answer in answers] == [False, False, True, False, False, None]
