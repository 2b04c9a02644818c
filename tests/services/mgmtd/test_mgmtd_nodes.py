"""Nodes as values: ids and words, tags, releases, selectors, registering and disabling."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import ids, states
from svcmgr.services.mgmtd.errors import InvalidTag, NodeNotFound, RegisterFail
from svcmgr.services.mgmtd.membership import check_unregister, disable, enable, find, register, retag
from svcmgr.services.mgmtd.nodes import (
    AppFacts,
    Endpoint,
    Node,
    PersistentNode,
    ServiceGroup,
    addresses,
    restored,
    unheard,
)
from svcmgr.services.mgmtd.release import parse_release
from svcmgr.services.mgmtd.selectors import Selector, select
from svcmgr.services.mgmtd.states import NodeStatus, NodeType, PublicState, TagMode
from svcmgr.services.mgmtd.tags import TAGS_MAX, TagPair, parse_tag, set_tags
from svcmgr.services.mgmtd.targets import TargetInfo


def tags(text: str):
    return tuple(parse_tag(word) for word in text.split())


def node(node_id=2, status=NodeStatus.HEARTBEAT_CONNECTED, text="", type_=NodeType.STORAGE):
    return Node(app=AppFacts(node_id=node_id), type=type_, status=status, tags=tags(text))


@pytest.mark.parametrize(
    ("range_", "value"),
    [
        (ids.NODE_ID, 0),
        (ids.NODE_ID, 2**32),
        (ids.TARGET_ID, 2**64),
        (ids.TARGET_ID, -1),
        (ids.CHAIN_ID, True),
        (ids.CHAIN_ID, "7"),
        (ids.CONFIG_VERSION, 1.0),
    ],
)
def test_a_number_that_is_no_id(range_, value):
    with pytest.raises(BadInput):
        range_.check(value)


def test_ids_at_the_ends_of_their_ranges():
    assert ids.NODE_ID.check(2**32 - 1) == 2**32 - 1
    assert ids.TARGET_ID.check(2**64 - 1) == 2**64 - 1
    assert ids.CONFIG_VERSION.check(0) == 0


@pytest.mark.parametrize("kind", [states.PublicState, states.LocalState, states.NodeStatus, states.NodeType, TagMode])
def test_words_and_numbers_of_states_belong_together(kind):
    for member in kind:
        assert states.from_number(kind, member.value) is member
        assert states.from_word(kind, member.name.lower().replace("_", "-")) is member


def test_the_numbers_on_the_wire_do_not_change():
    public = {member.name: member.value for member in PublicState}
    assert public == {
        "INVALID": 0,
        "SERVING": 1,
        "LASTSRV": 2,
        "SYNCING": 4,
        "WAITING": 8,
        "OFFLINE": 16,
        "CREATED": 32,
    }
    assert {m.name: m.value for m in states.LocalState} == {"INVALID": 0, "UPTODATE": 1, "ONLINE": 2, "OFFLINE": 4}


@pytest.mark.parametrize("number", [3, 64, True, "1", None])
def test_a_number_that_is_no_state(number):
    with pytest.raises(BadInput):
        states.from_number(PublicState, number)


def test_a_word_that_is_no_state():
    with pytest.raises(BadInput):
        states.from_word(PublicState, "serving!")


# --- tags


def test_H25_tags_replace_upsert_remove():
    now = set_tags((), tags("A=1 B=2 C"), TagMode.UPSERT)
    assert now == tags("A=1 B=2 C")
    now = set_tags(now, tags("B=3 D=4"), TagMode.UPSERT)
    assert now == tags("A=1 B=3 C D=4")
    now = set_tags(now, tags("A=2 C=3"), TagMode.REPLACE)
    assert now == tags("A=2 C=3")
    with pytest.raises(InvalidTag):
        set_tags(now, tags("A=1"), TagMode.REMOVE)
    assert set_tags(now, tags("A"), TagMode.REMOVE) == tags("C=3")


@pytest.mark.parametrize("key", ["", "a b", "a=b", "a,b", "a\n", "k" * 129, "\ud800"])
def test_H26_a_key_that_cannot_be(key):
    with pytest.raises(InvalidTag):
        TagPair(key)


@pytest.mark.parametrize("value", ["v" * 1025, "a\x00", "\udfff"])
def test_a_value_that_cannot_be(value):
    with pytest.raises(InvalidTag):
        TagPair("a", value)


def test_a_value_may_hold_what_a_key_may_not():
    assert str(parse_tag("a=b=c d,e")) == "a=b=c d,e"
    assert str(parse_tag("a=")) == "a"


def test_too_many_tags():
    many = [TagPair(f"k{number}") for number in range(TAGS_MAX)]
    assert len(set_tags((), many, TagMode.REPLACE)) == TAGS_MAX
    with pytest.raises(InvalidTag):
        set_tags(many, [TagPair("one-more")], TagMode.UPSERT)


PAIRS = st.lists(st.builds(TagPair, st.sampled_from("abcdef"), st.sampled_from(["", "1", "2"])))


@given(PAIRS, PAIRS)
def test_tags_are_a_sorted_map_in_which_the_last_one_counts(before, given_):
    after = set_tags(before, given_, TagMode.UPSERT)
    assert {tag.key: tag for tag in after} == {tag.key: tag for tag in [*before, *given_]}
    assert [tag.key for tag in after] == sorted({tag.key for tag in after})
    assert set_tags(after, given_, TagMode.UPSERT) == after
    keys = [TagPair(tag.key) for tag in given_]
    assert set_tags(after, keys, TagMode.REMOVE) == tuple(t for t in after if TagPair(t.key) not in keys)


# --- releases


def test_releases_in_order():
    texts = [
        "0.9.9",
        "1.2.3",
        "1.10.0",
        "250228-rel-1-77-0a1b2c3d",
        "250228-rel-2-70-0a1b2c3d",
        "250228-dev-1-78-0a1b2c3d",
        "250301-rel-1-79-0a1b2c3d",
    ]
    releases = [parse_release(text) for text in texts]
    assert all(older < newer for older, newer in itertools.pairwise(releases))
    assert [str(release) for release in releases] == texts


def test_pipeline_and_commit_do_not_make_a_release_differ():
    one, other = parse_release("250228-rel-1-77-0a1b2c3d"), parse_release("250228-rel-1-78-ffffffff")
    assert one == other
    assert not one < other
    assert hash(one) == hash(other)


@pytest.mark.parametrize("text", ["", "1.2", "1.2.3.4", "250228-rc-1-77-0a1b2c3d", "1.2.٣", "1.2.3\n", "9" * 500])
def test_text_that_is_no_release(text):
    with pytest.raises(BadInput):
        parse_release(text)


# --- nodes


@pytest.mark.parametrize(
    ("zones", "found"),
    [("", [1, 2, 3]), ("zone1", [2]), (" zone1 ,", [2]), (" zone1 , zone2", [2, 3]), ("zone9", [])],
)
def test_H29_nodes_by_traffic_zone(zones, found):
    nodes = [node(1), node(2, text="TrafficZone=zone1"), node(3, text="TrafficZone=zone2")]
    assert [one.node_id for one in select(nodes, Selector(zones=zones))] == found


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (Selector(), [1, 2, 3, 4]),
        (Selector(types=frozenset({NodeType.META})), [3]),
        (Selector(active=True), [1, 2]),
        (Selector(node_ids=frozenset({2, 9})), [2]),
        (Selector(statuses=frozenset({NodeStatus.DISABLED})), [4]),
        (Selector(active=True, types=frozenset({NodeType.STORAGE})), [2]),
    ],
)
def test_nodes_by_selector(selector, found):
    nodes = [
        node(1, NodeStatus.PRIMARY_MGMTD, type_=NodeType.MGMTD),
        node(2),
        node(3, NodeStatus.HEARTBEAT_FAILED, type_=NodeType.META),
        node(4, NodeStatus.DISABLED),
    ]
    assert [one.node_id for one in select(nodes, selector)] == found


def test_H02_registering_is_once():
    made = register({}, 2, NodeType.STORAGE)
    assert (made.type, made.status) == (NodeType.STORAGE, NodeStatus.HEARTBEAT_CONNECTING)
    for node_id in (2, 0, 2**32):
        with pytest.raises(RegisterFail):
            register({2: made}, node_id, NodeType.STORAGE)


def test_a_node_that_is_not_there():
    assert find({2: node(2)}, 2).node_id == 2
    with pytest.raises(NodeNotFound):
        find({2: node(2)}, 3)


def test_H19_disabling_and_H21_enabling():
    off = disable(node(text="rack=1"))
    assert (off.status, off.tags) == (NodeStatus.DISABLED, tags("Disable rack=1"))
    assert disable(off) is off
    on = enable(off)
    assert (on.status, on.tags) == (NodeStatus.HEARTBEAT_CONNECTING, tags("rack=1"))
    connected = node()
    assert enable(connected) is connected


def test_H22_the_primary_is_neither_enabled_nor_disabled():
    primary = node(1, NodeStatus.PRIMARY_MGMTD)
    for act in (enable, disable):
        with pytest.raises(BadInput):
            act(primary)


def test_H23_the_tag_disable_on_the_primary_needs_a_step_down():
    primary = node(1, NodeStatus.PRIMARY_MGMTD)
    with pytest.raises(BadInput):
        retag(primary, tags("Disable"), TagMode.UPSERT)
    assert retag(primary, tags("Disable"), TagMode.UPSERT, step_down=True).status is NodeStatus.DISABLED
    assert retag(primary, tags("rack=1"), TagMode.UPSERT).status is NodeStatus.PRIMARY_MGMTD


def test_the_tag_disable_and_the_status_go_together():
    off = retag(node(), tags("Disable"), TagMode.UPSERT)
    assert off.status is NodeStatus.DISABLED
    assert retag(off, tags("rack=1"), TagMode.UPSERT).status is NodeStatus.DISABLED
    assert retag(off, tags("rack=1"), TagMode.REPLACE).status is NodeStatus.HEARTBEAT_CONNECTING
    assert retag(off, tags("Disable"), TagMode.UPSERT) is off


@pytest.mark.parametrize(
    ("status", "text", "after"),
    [
        (NodeStatus.HEARTBEAT_CONNECTED, "rack=1", NodeStatus.HEARTBEAT_CONNECTING),
        (NodeStatus.PRIMARY_MGMTD, "", NodeStatus.HEARTBEAT_CONNECTING),
        (NodeStatus.DISABLED, "Disable rack=1", NodeStatus.DISABLED),
    ],
)
def test_H27_what_a_node_is_after_a_restart(status, text, after):
    before = attrs.evolve(node(status=status, text=text), last_heartbeat=5.0, config_version=3)
    now = restored(before.persistent)
    assert (now.status, now.tags, now.last_heartbeat, now.config_version) == (after, before.tags, 0.0, 0)
    assert now.persistent == before.persistent
    assert unheard(before.tags) is after


def test_a_node_that_is_in_use_is_not_unregistered():
    with pytest.raises(BadInput):
        check_unregister(node(), [])
    with pytest.raises(BadInput) as caught:
        check_unregister(
            node(2, NodeStatus.DISABLED),
            [TargetInfo(target_id=7, chain_id=9, public=PublicState.SERVING, node_id=2)],
        )
    assert caught.value.details == {"target": 7, "chain": 9}
    elsewhere = TargetInfo(target_id=7, chain_id=9, public=PublicState.SERVING, node_id=3)
    check_unregister(node(2, NodeStatus.HEARTBEAT_FAILED), [elsewhere])


def test_where_a_service_listens():
    groups = [
        ServiceGroup(["Mgmtd"], [Endpoint("tcp", "h:1"), Endpoint("rdma", "h:2")]),
        ServiceGroup(["Core", "Mgmtd"], [Endpoint("tcp", "h:3")]),
    ]
    assert addresses(groups, "Mgmtd") == ("h:1", "h:2", "h:3")
    assert addresses(groups, "Mgmtd", "tcp") == ("h:1", "h:3")
    assert addresses(groups, "Core", "rdma") == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: AppFacts(node_id=0),
        lambda: AppFacts(node_id=1, hostname="a b"),
        lambda: AppFacts(node_id=1, hostname="h" * 256),
        lambda: AppFacts(node_id=1, incarnation="\ud800"),
        lambda: AppFacts(node_id=1, service_groups=[ServiceGroup([], [])] * 33),
        lambda: Endpoint("", "h:1"),
        lambda: Endpoint("tcp", ""),
        lambda: ServiceGroup([""], []),
        lambda: ServiceGroup(["s"], [Endpoint("tcp", "a")] * 65),
        lambda: PersistentNode(node_id=0, type=NodeType.META),
    ],
)
def test_facts_that_cannot_be(make):
    with pytest.raises(BadInput):
        make()
