"""The cluster in memory: one way to change it, and what clients make of the deltas."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.services.mgmtd import infos, recording, routing, wire
from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.changes import Change, Kind, quiet, stored, visible
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.config.version import ConfigVersion, Proposal
from svcmgr.services.mgmtd.faces import WORDS, Faces, thumb
from svcmgr.services.mgmtd.history import History
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import AppFacts, Node
from svcmgr.services.mgmtd.states import LocalState, NodeStatus, NodeType, PublicState
from svcmgr.services.mgmtd.store import records
from svcmgr.services.mgmtd.tables import ChainTable
from svcmgr.services.mgmtd.tags import TagPair
from svcmgr.services.mgmtd.targets import ChainTarget, LocalTarget, TargetInfo

P, L = PublicState, LocalState
NOW = Moment(50.0, 1e9)
ALL = frozenset(WORDS)
CONFIG = ConfigVersion.make(2, Proposal("a = 1", "me", "why"), 5.0, "rollback of 1 to 1")


def cluster(version: int = 1) -> Cluster:
    return Cluster(version, NOW)


def node(node_id: int = 1, **fields: Any) -> Node:
    return Node(app=AppFacts(node_id=node_id, hostname=f"h{node_id}"), type=NodeType.STORAGE, **fields)


def chain(chain_id: int, *targets: int, version: int = 1, public: PublicState = P.SERVING) -> Chain:
    return Chain(chain_id, version, tuple(ChainTarget(target, public) for target in targets))


def new(kind: Kind, id: Any, value: Any) -> Change:
    return Change(kind, id, None, value)


def target_change(state: Cluster, target: int, **fields: Any) -> Change:
    info = state.targets[target]
    return Change(Kind.TARGET, target, info, attrs.evolve(info, **fields))


# --- what follows from a change ------------------------------------------------------------------------------------

FOLLOWS = [
    (new(Kind.NODE, 1, node()), True, True),
    (Change(Kind.NODE, 1, node(), None), True, True),
    (Change(Kind.NODE, 1, node(), node(status=NodeStatus.HEARTBEAT_FAILED)), False, True),
    (Change(Kind.NODE, 1, node(), node(tags=(TagPair("a"),))), True, True),
    (Change(Kind.NODE, 1, node(), node(config_version=3)), False, False),
    (Change(Kind.NODE, 1, node(), attrs.evolve(node(), app=AppFacts(node_id=1, hostname="h1", pid=9))), False, False),
    (new(Kind.CHAIN, 1, chain(1, 11)), True, True),
    (Change(Kind.CHAIN, 1, chain(1, 11), attrs.evolve(chain(1, 11), preferred=(11,))), True, True),
    (Change(Kind.CHAIN, 1, chain(1, 11), chain(1, 11, public=P.LASTSRV)), True, True),
    (
        Change(Kind.CHAIN, 1, chain(1, 11), Chain(1, 1, (ChainTarget(11, P.SERVING, L.ONLINE),))),
        False,
        False,
    ),
    (new(Kind.TABLE, (1, 1), ChainTable(1, 1, (1,))), True, True),
    (new(Kind.PLACE, 11, (1, None)), True, False),
    (new(Kind.CONFIG, ("META", 1), CONFIG), True, False),
    (new(Kind.HOST, "h", ()), True, False),
    (new(Kind.SESSION, "c", object()), False, False),
    (new(Kind.BIRTH, 1, 2.0), False, False),
]


@pytest.mark.parametrize(("change", "kept", "seen"), FOLLOWS)
def test_what_is_stored_and_what_is_seen(change, kept, seen):
    assert (stored(change), visible(change)) == (kept, seen)


def test_how_full_a_target_is_is_quiet():
    info = TargetInfo(target_id=11, chain_id=1, public=P.SERVING)
    assert quiet(Change(Kind.TARGET, 11, info, attrs.evolve(info, used_bytes=5)))
    assert not quiet(Change(Kind.TARGET, 11, info, attrs.evolve(info, local=L.ONLINE)))
    assert not quiet(Change(Kind.NODE, 1, node(), node(config_version=3)))


WRITTEN = [
    new(Kind.NODE, 1, node(tags=(TagPair("a", "b"),))),
    new(Kind.CHAIN, 1, attrs.evolve(chain(1, 11, 12), preferred=(12,))),
    new(Kind.TABLE, (2, 3), ChainTable(2, 3, (1, 5), "text")),
    new(Kind.CONFIG, ("META", 2), CONFIG),
]
BACK = {
    records.Node: lambda record: recording.node_of(record),
    records.Chain: recording.chain_of,
    records.ChainTable: recording.table_of,
    records.Config: recording.config_of,
}


@pytest.mark.parametrize("change", WRITTEN)
def test_what_is_written_reads_back(change):
    put = recording.write(change)
    record = records.decode(put.key, put.value)
    value = change.new.persistent if change.kind is Kind.NODE else change.new
    assert BACK[type(record)](record) == value


def test_what_goes_is_deleted_under_the_key_it_was_put():
    for change in WRITTEN:
        gone = recording.write(Change(change.kind, change.id, change.new, None))
        assert gone.key == recording.write(change).key


def test_what_need_not_be_stored_writes_nothing():
    assert recording.write(Change(Kind.NODE, 1, node(), node(config_version=3))) is None


# --- applying -----------------------------------------------------------------------------------------------------


def test_a_chain_brings_its_targets_and_takes_them_away():
    state = cluster()
    state.apply([new(Kind.CHAIN, 1, chain(1, 11, 12))])
    assert state.chain_of == {11: 1, 12: 1}
    state.apply([Change(Kind.CHAIN, 1, chain(1, 11, 12), chain(1, 12, version=2))])
    assert state.chain_of == {12: 1}
    assert set(state.targets) == {12}
    assert list(state.touched) == [1]


def test_a_targets_local_state_is_seen_in_its_chain_and_touches_it():
    state = cluster()
    state.apply([new(Kind.CHAIN, 1, chain(1, 11))])
    state.touched.clear()
    state.advance(2)
    assert state.apply([target_change(state, 11, local=L.ONLINE, node_id=4)])
    assert list(state.touched) == [1]
    assert set(state.history.since(2)) == {(Kind.TARGET, 11), (Kind.CHAIN, 1)}
    assert state.live(state.chains[1]).targets[0].local is L.ONLINE


def test_a_target_that_was_removed_meanwhile_does_not_come_back():
    state = cluster()
    state.apply([new(Kind.CHAIN, 1, chain(1, 11, 12))])
    late = target_change(state, 11, local=L.ONLINE)
    state.apply([Change(Kind.CHAIN, 1, chain(1, 11, 12), chain(1, 12, version=2))])
    state.apply([late])
    assert set(state.targets) == {12}


def test_an_orphan_that_joins_a_chain_keeps_its_place():
    state = cluster()
    report = LocalTarget(target_id=11, local=L.ONLINE, disk_index=3, used_bytes=9)
    state.apply([new(Kind.ORPHANS, 4, (report,))])
    state.apply([new(Kind.CHAIN, 1, chain(1, 11))])
    assert state.orphans == {4: ()}
    info = state.targets[11]
    assert (info.node_id, info.disk_index, info.used_bytes, info.local) == (4, 3, 9, L.OFFLINE)


# --- the history --------------------------------------------------------------------------------------------------


def test_the_ring_forgets_the_oldest_and_says_so():
    history = History(1, things_max=2)
    for version, thing in ((2, 7), (3, 8), (4, 9)):
        history.note([(Kind.NODE, thing)])
        history.advance(version)
    assert history.since(1) is None
    assert history.since(2) == [(Kind.NODE, 9), (Kind.NODE, 8)]
    assert history.since(4) == []
    assert history.since(5) is None


def test_what_is_pending_is_in_every_delta():
    history = History(1)
    history.note([(Kind.NODE, 7)])
    assert history.pending
    assert history.since(1) == [(Kind.NODE, 7)]


def test_the_digest_is_of_what_is_there_and_not_of_how_it_came():
    things = {1: wire.Tag("a"), 2: wire.Tag("b")}
    one, other = (Faces(lambda kind, id: things.get(id)) for _ in range(2))
    one.mark([(Kind.NODE, 1), (Kind.NODE, 2)])
    other.mark([(Kind.NODE, 2)])
    assert one.digest() != other.digest()
    other.refresh(most=1)
    other.mark([(Kind.NODE, 1)])
    assert one.digest() == other.digest()
    del things[1]
    one.mark([(Kind.NODE, 1)])
    assert one.digest() == f"{thumb('nodes', msgspec.msgpack.encode(wire.Tag('b'))):032x}"


# --- clients ------------------------------------------------------------------------------------------------------


class Copy:
    """A client's copy of the routing information, kept by deltas."""

    def __init__(self, state: Cluster) -> None:
        told = decoded(routing.full(state, False), wire.Routing)
        self.version = told.version
        self.things: dict[Any, Any] = {}
        self._take(told)

    def follow(self, state: Cluster) -> wire.Delta:
        told = decoded(routing.delta(state, self.version, ALL), wire.Delta)
        self._take(told)
        for word, gone in told.gone.items():
            for id in gone:
                self.things.pop((word, id), None)
        self.version = told.version
        return told

    def _take(self, told: Any) -> None:
        for one in told.nodes:
            self.things["nodes", one.app.node] = one
        for one in told.chains:
            self.things["chains", one.chain] = one
        for one in told.tables:
            self.things["tables", one.table, one.version] = one
        for one in told.targets:
            self.things["targets", one.target] = one

    @property
    def digest(self) -> str:
        total = 0
        for key, thing in self.things.items():
            total ^= thumb(key[0], msgspec.msgpack.encode(thing))
        return f"{total:032x}"


def decoded(answer: Any, kind: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=kind)


def test_R05_one_chain_changes_and_the_delta_has_exactly_that_chain():
    state = cluster()
    state.apply([new(Kind.CHAIN, id, chain(id, 10 * id, 10 * id + 1, 10 * id + 2)) for id in (1, 2, 3)])
    state.advance(2)
    copy = Copy(state)
    before = state.chains[2]
    dead = before.arranged(
        tuple(target.at(P.OFFLINE) if target.target_id == 21 else target for target in before.targets)
    )
    state.apply([Change(Kind.CHAIN, 2, before, dead)])
    state.advance(3)
    told = copy.follow(state)
    assert [one.chain for one in told.chains] == [2]
    assert [one.target for one in told.targets] == [21]
    assert told.version == 3
    assert copy.digest == told.digest == routing.full(state, False).digest
    assert len(msgspec.msgpack.encode(told)) < 1000


def test_R06_a_version_that_is_not_remembered_wants_a_resync():
    state = cluster(version=5)
    assert routing.delta(state, 4, ALL) is None
    assert routing.delta(state, 6, ALL) is None
    assert routing.empty(routing.delta(state, 5, ALL))


def test_R03_what_does_not_raise_the_version_is_in_no_face():
    state = cluster()
    state.apply([new(Kind.NODE, 1, node()), new(Kind.CHAIN, 1, chain(1, 11))])
    state.advance(2)
    before = routing.full(state, False).digest
    busy = attrs.evolve(node(), last_heartbeat=5.0, config_version=2, app=AppFacts(node_id=1, hostname="h1", pid=8))
    assert not state.apply([Change(Kind.NODE, 1, node(), busy), target_change(state, 11, used_bytes=99)])
    assert routing.full(state, False).digest == before
    assert not state.history.pending


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.integers(1, 3), st.sampled_from([None, *NodeStatus])),
        st.tuples(st.just("chain"), st.integers(1, 3), st.lists(st.sampled_from([0, 1, 2]), unique=True, max_size=3)),
        st.tuples(st.just("target"), st.integers(10, 32), st.sampled_from([L.ONLINE, L.OFFLINE, L.UPTODATE])),
        st.tuples(st.just("table"), st.integers(1, 2), st.just(0)),
        st.tuples(st.just("advance"), st.just(0), st.just(0)),
        st.tuples(st.just("follow"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


def step(state: Cluster, what: str, id: int, value: Any) -> None:
    if what == "node":
        after = None if value is None else node(id, status=value)
        state.apply([Change(Kind.NODE, id, state.nodes.get(id), after)] if state.nodes.get(id) != after else [])
    elif what == "chain":
        before = state.chains.get(id)
        after = (
            chain(id, *(10 * id + one for one in value), version=before.version + 1 if before else 1) if value else None
        )
        state.apply([Change(Kind.CHAIN, id, before, after)] if before != after else [])
    elif what == "target" and id in state.targets:
        state.apply([target_change(state, id, local=value)])
    elif what == "table":
        version = len(state.tables.get(id, {})) + 1
        state.apply([new(Kind.TABLE, (id, version), ChainTable(id, version, (1,)))])
    elif what == "advance":
        state.advance(state.version + 1)


@settings(max_examples=200)
@given(STEPS)
def test_a_copy_with_its_deltas_equals_what_is_there(steps):
    state = cluster()
    copy = Copy(state)
    for what, id, value in steps:
        if what == "follow":
            told = copy.follow(state)
            assert copy.digest == told.digest
        else:
            step(state, what, id, value)
    copy.follow(state)
    assert copy.things == Copy(state).things
    assert copy.digest == routing.full(state, False).digest


def test_infos_read_back_what_they_say():
    app = AppFacts(node_id=3, hostname="h", pid=4, incarnation="i", podname="p")
    assert infos.facts(infos.app_info(app)) == app
    assert infos.pairs(infos.tags([TagPair("a", "b")])) == (TagPair("a", "b"),)
