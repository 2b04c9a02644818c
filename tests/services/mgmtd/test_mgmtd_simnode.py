"""The simulated storage node: the contract of a storage node, as a table of histories and against the chain rules."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.chains import judge
from svcmgr.services.mgmtd.simnode import DiskFailed, DiskReplaced, Passed, Placed, Routed, SimNode, Timing
from svcmgr.services.mgmtd.states import LocalState, PublicState
from svcmgr.services.mgmtd.targets import ChainTarget

P, L = PublicState, LocalState
TIMING = Timing(heartbeat_s=10.0, soonest_s=1.0, sync_s=5.0, reopen_s=0.5)


def node(*targets: int) -> SimNode:
    return SimNode(targets, TIMING)


def routed(public: P, version: int = 1, target: int = 1) -> Routed:
    return Routed({target: Placed(public, version)})


def states(reports: list) -> list:
    (report,) = reports
    return [(target, state) for target, state, _ in report.targets]


def test_the_first_report_says_offline():
    one = node(1, 2)
    assert one.next_deadline == float("-inf")
    assert states(one.handle(Passed(), 0.0)) == [(1, L.OFFLINE), (2, L.OFFLINE)]


@pytest.mark.parametrize("public", [P.SERVING, P.SYNCING, P.WAITING])
def test_one_that_comes_back_stays_offline_until_it_is_out_of_use(public):
    one = node(1)
    one.handle(Passed(), 0.0)
    assert one.handle(routed(public), 0.5) == []
    assert states(one.handle(Passed(), 10.0)) == [(1, L.OFFLINE)]
    assert one.handle(routed(P.OFFLINE, 2), 10.5) == []
    assert states(one.handle(Passed(), 11.0)) == [(1, L.ONLINE)]
    assert one.joined


@pytest.mark.parametrize("public", [P.CREATED, P.OFFLINE, P.LASTSRV])
def test_one_that_is_not_in_use_says_at_once_what_it_has(public):
    one = node(1)
    one.handle(Passed(), 0.0)
    one.handle(routed(public), 0.2)
    assert states(one.handle(Passed(), 1.0)) == [(1, L.ONLINE)]


def joined(public: P = P.OFFLINE) -> SimNode:
    one = node(1)
    one.handle(Passed(), 0.0)
    one.handle(routed(public), 0.5)
    one.handle(Passed(), 1.0)
    return one


def test_a_server_is_up_to_date_and_one_that_is_not_trusted_is_opened_again():
    one = joined()
    assert states(one.handle(routed(P.SERVING, 3), 20.0)) == [(1, L.UPTODATE)]
    assert one.handle(routed(P.OFFLINE, 4), 20.2) == []
    assert one.locals == {1: L.OFFLINE}
    one.handle(Passed(), 20.8)
    assert states(one.handle(Passed(), 21.0)) == [(1, L.ONLINE)]


def test_a_sync_takes_its_time_and_is_given_up_when_it_is_called_off():
    one = joined()
    one.handle(routed(P.SYNCING, 3), 20.0)
    assert one.next_deadline == 25.0
    one.handle(routed(P.WAITING, 4), 22.0)
    one.handle(routed(P.SYNCING, 5), 23.0)
    one.handle(Passed(), 25.0)
    assert one.locals == {1: L.ONLINE}
    one.handle(Passed(), 28.0)
    assert one.locals == {1: L.UPTODATE}


def test_a_failed_disk_stays_offline_until_it_is_replaced():
    one = joined()
    one.handle(routed(P.SERVING, 3), 20.0)
    one.handle(DiskFailed(1), 20.5)
    one.handle(routed(P.SERVING, 3), 21.0)
    one.handle(Passed(), 40.0)
    assert one.locals == {1: L.OFFLINE}
    one.handle(DiskReplaced(1), 41.0)
    assert one.locals == {1: L.ONLINE}
    with pytest.raises(BadInput):
        one.handle(DiskFailed(9), 42.0)


def test_what_is_offline_names_no_chain_version():
    one = joined(P.OFFLINE)
    (report,) = one.handle(routed(P.SERVING, 7), 20.0)
    assert report.targets == ((1, L.UPTODATE, 7),)
    (report,) = one.handle(DiskFailed(1), 21.5)
    assert report.targets == ((1, L.OFFLINE, 0),)


def test_bad_targets():
    for bad in ([1, 1], [0], [-1], [2**64]):
        with pytest.raises(BadInput):
            SimNode(bad)


@given(st.lists(st.sampled_from(list(P)), max_size=30), st.randoms(use_true_random=False))
def test_reports_are_never_closer_than_that_and_never_later_than_a_heartbeat(publics, rng: random.Random):
    one, now, last = node(1), 0.0, None
    for version, public in enumerate(publics, 1):
        event = routed(public, version) if public is not P.INVALID else Passed()
        if one.handle(event, now):
            assert last is None or now - last >= TIMING.soonest_s
            last = now
        assert last is not None
        assert one.next_deadline <= last + TIMING.heartbeat_s
        now += rng.choice([0.1, 0.7, 3.0, 12.0])


@given(st.integers(0, 2**32))
def test_nodes_and_the_rules_of_chains_bring_every_chain_back(seed: int):
    """Three nodes, one target each: random restarts and disk failures; afterwards all serve."""
    rng = random.Random(seed)
    nodes = {target: node(target) for target in (1, 2, 3)}
    chain = Chain(1, 1, tuple(ChainTarget(target, P.CREATED) for target in nodes))
    heard = dict.fromkeys(nodes, L.OFFLINE)
    now = 0.0

    def second() -> None:
        nonlocal chain, now
        now += 1.0
        for target, one in nodes.items():
            (public,) = [one.public for one in chain.targets if one.target_id == target]
            for report in one.handle(routed(public, chain.version, target), now):
                for _, state, seen in report.targets:
                    if seen in (0, chain.version):
                        heard[target] = state
        targets = tuple(target.heard(heard[target.target_id]) for target in chain.targets)
        chain = chain.arranged(judge(targets))

    for _ in range(60):
        if rng.random() < 0.1:
            target = rng.choice([1, 2, 3])
            nodes[target] = node(target)
            heard[target] = L.OFFLINE
        second()
    for _ in range(120):
        second()
    assert [target.public for target in chain.targets] == [P.SERVING] * 3
