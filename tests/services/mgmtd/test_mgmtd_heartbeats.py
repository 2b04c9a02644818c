"""Heartbeats: what is refused, in which order, what one changes, and who is silent."""

from __future__ import annotations

import itertools

import attrs
import pytest

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.errors import (
    ClusterIdMismatch,
    HeartbeatFail,
    HeartbeatVersionStale,
    InvalidConfigVersion,
)
from svcmgr.services.mgmtd.heartbeats import TARGETS_MAX, Contact, Heartbeat, Policy, Server, silent_nodes, take
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import AppFacts, Endpoint, Node, ServiceGroup
from svcmgr.services.mgmtd.reports import Known, Orphan, apply_report, silent_targets
from svcmgr.services.mgmtd.states import LocalState, NodeStatus, NodeType, PublicState
from svcmgr.services.mgmtd.tags import TagPair
from svcmgr.services.mgmtd.targets import LocalTarget, TargetInfo

UTC = 1_800_000_000.0
SERVER = Server("c1", 1, {NodeType.STORAGE: 3, NodeType.META: 0})
POLICY = Policy()


def at(seconds):
    return Moment(seconds, UTC + seconds)


def beat(version=1, now=0.0, incarnation="i1", **changes):
    app = AppFacts(node_id=changes.pop("node_id", 2), hostname="h2", pid=7, incarnation=incarnation)
    fields = {"cluster_id": "c1", "app": app, "type": NodeType.STORAGE, "timestamp": UTC + now, "config_version": 3}
    return Heartbeat(**{**fields, "version": version, **changes})


def registered(status=NodeStatus.HEARTBEAT_CONNECTING, type_=NodeType.STORAGE):
    return Contact(Node(app=AppFacts(node_id=2, hostname="h2"), type=type_, status=status), heard=0.0)


def after(*beats, known=None, policy=POLICY, step=10.0):
    """The contact after these heartbeats, one each ``step`` seconds, and the last answer."""
    contact, taken = known or registered(), None
    for number, heartbeat in enumerate(beats):
        now = at(number * step)
        taken = take(attrs.evolve(heartbeat, timestamp=now.utc), contact, SERVER, policy, now)
        contact = taken.contact
    return contact, taken


def test_H01_another_cluster_is_told_so_before_anything_else():
    bad = beat(cluster_id="c2", node_id=1, timestamp=0.0, config_version=9, type=NodeType.META)
    with pytest.raises(ClusterIdMismatch):
        take(bad, None, SERVER, POLICY, at(0))


def test_H03_an_unregistered_node_is_refused_or_registered():
    with pytest.raises(HeartbeatFail):
        take(beat(), None, SERVER, POLICY, at(0))
    taken = take(beat(), None, SERVER, Policy(allow_unregistered=True), at(0))
    assert taken.contact.node.status is NodeStatus.HEARTBEAT_CONNECTED
    assert (taken.persist, taken.contact.node.tags) == (True, ())


def test_the_primarys_own_id_is_refused():
    with pytest.raises(HeartbeatFail):
        take(beat(node_id=1), registered(), SERVER, POLICY, at(0))


@pytest.mark.parametrize("off", [31.0, -31.0, float("nan"), float("inf")])
def test_H05_a_clock_that_is_too_far_off(off):
    with pytest.raises(HeartbeatFail):
        take(beat(timestamp=UTC + off), registered(), SERVER, POLICY, at(0))


@pytest.mark.parametrize(("off", "window"), [(30.0, 30.0), (-30.0, 30.0), (3600.0, 0.0)])
def test_H05_a_clock_that_is_near_enough(off, window):
    taken = take(beat(timestamp=UTC + off), registered(), SERVER, Policy(valid_window_s=window), at(0))
    assert taken.contact.node.last_heartbeat == UTC


def test_H06_another_type_than_registered():
    with pytest.raises(HeartbeatFail):
        take(beat(type=NodeType.META, config_version=0), registered(), SERVER, POLICY, at(0))


def test_H07_a_disabled_node():
    with pytest.raises(HeartbeatFail):
        take(beat(), registered(NodeStatus.DISABLED), SERVER, POLICY, at(0))


def test_H09_the_first_heartbeat_with_known_services_may_wait_for_the_next_bump():
    taken = take(beat(), registered(), SERVER, POLICY, at(0))
    assert taken.contact.node.status is NodeStatus.HEARTBEAT_CONNECTED
    assert (taken.persist, taken.bump_due) == (False, True)


def test_H10_a_new_address_is_stored_at_once():
    groups = [ServiceGroup(["Storage"], [Endpoint("tcp", "h2:1")])]
    moved = beat(2, app=AppFacts(node_id=2, hostname="h2", incarnation="i1", service_groups=groups))
    assert after(beat(1), moved)[1].persist


def test_H11_a_new_pid_alone_is_not_stored():
    other = beat(2, app=AppFacts(node_id=2, hostname="h2", pid=8, incarnation="i1"))
    contact, taken = after(beat(1), other)
    assert (taken.persist, taken.bump_due, contact.node.app.pid) == (False, False, 8)


def test_H13_identical_heartbeats_change_nothing_but_when_the_node_was_heard():
    contact, _ = after(beat(1))
    for version in range(2, 200):
        taken = take(beat(version, now=version), contact, SERVER, POLICY, at(version))
        assert (taken.persist, taken.bump_due, taken.send_config) == (False, False, False)
        assert attrs.evolve(taken.contact.node, last_heartbeat=0.0) == attrs.evolve(contact.node, last_heartbeat=0.0)
        contact = taken.contact
    assert contact.heard == 199


def test_a_heartbeat_keeps_the_tags():
    known = registered()
    tagged = attrs.evolve(known, node=attrs.evolve(known.node, tags=(TagPair("rack", "1"),)))
    assert after(beat(), known=tagged)[0].node.tags == (TagPair("rack", "1"),)


def test_H14_silence_of_the_limit_is_not_yet_a_failure():
    contact, _ = after(beat())
    assert silent_nodes([contact], POLICY, at(60.0)) == ()
    (failed,) = silent_nodes([contact], POLICY, at(60.001))
    assert failed.status is NodeStatus.HEARTBEAT_FAILED


@pytest.mark.parametrize("status", NodeStatus)
def test_H14_who_is_judged_by_silence(status):
    judged = silent_nodes([registered(status)], POLICY, at(61.0))
    expected = status in (NodeStatus.HEARTBEAT_CONNECTED, NodeStatus.HEARTBEAT_CONNECTING)
    assert [node.node_id for node in judged] == [2] * expected


@pytest.mark.parametrize("status", [NodeStatus.HEARTBEAT_FAILED, NodeStatus.STOPPED])
def test_H15_a_node_that_failed_or_left_comes_back(status):
    taken = take(beat(), registered(status), SERVER, POLICY, at(0))
    assert taken.contact.node.status is NodeStatus.HEARTBEAT_CONNECTED
    assert taken.bump_due


def test_H17_a_config_version_above_the_newest():
    with pytest.raises(InvalidConfigVersion) as caught:
        take(beat(config_version=4), registered(), SERVER, POLICY, at(0))
    assert caught.value.details["newest"] == 3


def test_H18_the_newest_config_is_sent_until_the_node_has_it():
    assert after(beat(1, config_version=0))[1].send_config
    assert not after(beat(1, config_version=0), beat(2, config_version=3))[1].send_config


def test_H30_a_node_that_leaves_is_stopped_and_not_judged_any_more():
    contact, taken = after(beat(1), beat(2, leaving=True))
    assert contact.node.status is NodeStatus.STOPPED
    assert taken.bump_due
    assert silent_nodes([contact], POLICY, at(1000.0)) == ()


# --- versions and incarnations


@pytest.mark.parametrize("version", [1, 5])
def test_a_heartbeat_that_is_not_newer_is_stale(version):
    contact, _ = after(beat(5))
    with pytest.raises(HeartbeatVersionStale) as caught:
        take(beat(version), contact, SERVER, POLICY, at(1))
    assert caught.value.details["version"] == 5


def test_a_process_without_incarnation_goes_on_after_the_version_it_is_told():
    contact, _ = after(beat(5, incarnation=""))
    with pytest.raises(HeartbeatVersionStale):
        take(beat(1, incarnation=""), contact, SERVER, POLICY, at(1))
    assert take(beat(6, incarnation=""), contact, SERVER, POLICY, at(1)).contact.version == 6


def test_a_second_process_of_one_id_is_refused_while_the_first_is_alive():
    contact, _ = after(beat(5))
    with pytest.raises(HeartbeatFail) as caught:
        take(beat(1, incarnation="i2"), contact, SERVER, POLICY, at(29.9))
    assert not isinstance(caught.value, HeartbeatVersionStale)
    taken = take(beat(1, incarnation="i2", now=30), contact, SERVER, POLICY, at(30))
    assert (taken.contact.version, taken.contact.node.app.incarnation) == (1, "i2")


def test_a_process_that_names_its_predecessor_is_taken_at_once_and_the_predecessor_refused():
    contact, _ = after(beat(5))
    taken = take(beat(1, incarnation="i2", replaces="i1"), contact, SERVER, POLICY, at(1))
    assert taken.contact.version == 1
    with pytest.raises(HeartbeatFail):
        take(beat(6), taken.contact, SERVER, POLICY, at(2))


def test_a_predecessor_without_incarnation_cannot_be_named():
    contact, _ = after(beat(5, incarnation=""))
    with pytest.raises(HeartbeatFail):
        take(beat(1, incarnation="i2", replaces=""), contact, SERVER, POLICY, at(1))


def test_a_process_that_left_is_replaced_at_once():
    contact, _ = after(beat(5), beat(6, leaving=True))
    assert take(beat(1, now=11, incarnation="i2"), contact, SERVER, POLICY, at(11)).contact.version == 1


def test_two_processes_of_one_id_never_alternate():
    contact, takes = registered(), {"i1": 0, "i2": 0}
    for second in range(200):
        one = ("i1", "i2")[second % 2]
        try:
            contact = take(beat(second + 1, now=second, incarnation=one), contact, SERVER, POLICY, at(second)).contact
            takes[one] += 1
        except HeartbeatFail:
            pass
    assert takes == {"i1": 100, "i2": 0}


# --- payload


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": [LocalTarget(target_id=7, local=LocalState.ONLINE)] * 2},
        {"targets": [LocalTarget(target_id=7, local=LocalState.INVALID)]},
        {"targets": [LocalTarget(target_id=n + 1, local=LocalState.ONLINE) for n in range(TARGETS_MAX + 1)]},
    ],
    ids=["twice", "invalid", "too many"],
)
def test_a_bad_payload_refuses_the_whole_heartbeat(changes):
    with pytest.raises(HeartbeatFail):
        take(beat(**changes), registered(), SERVER, POLICY, at(0))


def test_only_storage_nodes_have_targets():
    bad = beat(type=NodeType.META, config_version=0, targets=[LocalTarget(target_id=7, local=LocalState.ONLINE)])
    with pytest.raises(HeartbeatFail):
        take(bad, registered(type_=NodeType.META), SERVER, POLICY, at(0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: beat(version=0),
        lambda: beat(version=2**64),
        lambda: beat(config_version=-1),
        lambda: LocalTarget(target_id=0, local=LocalState.ONLINE),
        lambda: LocalTarget(target_id=1, local=LocalState.ONLINE, used_bytes=-1),
    ],
)
def test_numbers_out_of_range(make):
    with pytest.raises(BadInput):
        make()


#: Mistakes in the order in which they are found; each also makes the heartbeat carry every later one.
MISTAKES = [
    ({"cluster_id": "c2"}, ClusterIdMismatch),
    ({"timestamp": 0.0}, HeartbeatFail),
    ({"config_version": 9}, InvalidConfigVersion),
    ({"version": 1}, HeartbeatVersionStale),
    ({"targets": [LocalTarget(target_id=7, local=LocalState.INVALID)]}, HeartbeatFail),
]


@pytest.mark.parametrize("first", range(len(MISTAKES)))
def test_the_first_of_several_mistakes_is_the_answer(first):
    contact, _ = after(beat(5))
    later = itertools.chain.from_iterable(changes.items() for changes, _ in MISTAKES[first:])
    with pytest.raises(MISTAKES[first][1]) as caught:
        take(beat(**{"version": 9, **dict(later)}), contact, SERVER, POLICY, at(1))
    assert type(caught.value) is MISTAKES[first][1]


# --- targets

A = TargetInfo(target_id=11, chain_id=1, public=PublicState.SERVING, local=LocalState.UPTODATE, node_id=2)
KNOWN = Known({11: A}, {1: 7}.__getitem__)


def report(local, version=0, target_id=11, **more):
    return LocalTarget(target_id=target_id, local=local, chain_version=version, **more)


def test_T01_a_report_from_before_the_chain_changed_is_ignored_whole():
    said = apply_report(2, [report(LocalState.ONLINE, 6)], KNOWN)
    assert (said.heard, said.changed) == ((), ())
    assert apply_report(2, [report(LocalState.ONLINE, 6)], KNOWN, ignore_stale=False).heard == (11,)


@pytest.mark.parametrize("version", [0, 7, 8])
def test_T02_other_reports_are_taken_over(version):
    said = apply_report(2, [report(LocalState.ONLINE, version)], KNOWN)
    assert [target.local for target in said.changed] == [LocalState.ONLINE]
    assert (said.heard, said.important) == ((11,), (11,))


def test_T03_offline_is_always_heard():
    said = apply_report(2, [report(LocalState.OFFLINE)], KNOWN)
    assert said.changed[0].local is LocalState.OFFLINE


def test_T05_a_target_that_is_not_reported_falls_silent_alone():
    other = attrs.evolve(A, target_id=12)
    heard = {11: 0.0, 12: 60.5}
    assert silent_targets([A, other], heard, 60.0, 60.0) == ()
    (gone,) = silent_targets([A, other], heard, 60.0, 60.001)
    assert (gone.target_id, gone.local) == (11, LocalState.OFFLINE)
    assert silent_targets([gone], heard, 60.0, 999.0) == ()


def test_T06_used_size_alone_is_not_important():
    said = apply_report(2, [report(LocalState.UPTODATE, used_bytes=5, low_space=True)], KNOWN)
    assert (said.important, said.changed[0].used_bytes, said.changed[0].low_space) == ((), 5, True)


def test_the_same_again_changes_nothing():
    said = apply_report(2, [report(LocalState.UPTODATE)], KNOWN)
    assert (said.heard, said.changed, said.important) == ((11,), (), ())


def test_a_target_that_moved_to_another_node_is_important():
    said = apply_report(3, [report(LocalState.UPTODATE)], KNOWN)
    assert (said.important, said.changed[0].node_id) == ((11,), 3)


def test_T07_a_target_of_no_chain_is_an_orphan_for_as_long_as_it_is_reported():
    stray = report(LocalState.ONLINE, target_id=99)
    assert apply_report(2, [stray], KNOWN).orphans == (Orphan(2, stray),)
    assert apply_report(2, [], KNOWN).orphans == ()
