"""What an operator may do to a chain: its order, its last server, and the guard."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput, Busy
from svcmgr.services.mgmtd.chain import Chain, count
from svcmgr.services.mgmtd.chains import judge
from svcmgr.services.mgmtd.explain import explain
from svcmgr.services.mgmtd.reorder import Limits, admit, prefer, rotate_lastsrv, step
from svcmgr.services.mgmtd.states import LocalState
from tests.kit.chains import P, chain, every_valid, heard, number, numbers, read, show

STEPS = {
    "P01": ("B:Su C:Su A:Su", "A B C", "C:Su A:Su B:Ox"),
    "P02": ("A:Su B:Su C:Su", "A B C", "A:Su B:Su C:Su"),
    "P03": ("A:Su C:Su B:Su", "A B C", "A:Su B:Su C:Ox"),
    "P05": ("B:Su A:Yn", "A B", "B:Su A:Yn"),
    "partial": ("B:Su C:Su A:Su", "A", "C:Su A:Su B:Ox"),
    "nothing wanted": ("B:Su A:Su", "", "B:Su A:Su"),
}


@pytest.mark.parametrize(("before", "wanted", "after"), STEPS.values(), ids=STEPS.keys())
def test_P01_to_P05_one_step_to_the_preferred_order(before, wanted, after):
    old = chain(before, wanted)
    new = step(old)
    assert show(new.targets) == after
    assert new.version - old.version == (before != after)


def test_P06_a_forced_step_leaves_one_server():
    old = chain("C:Su A:Su B:Yn", "A B C")
    new = step(old, force=True)
    assert (show(new.targets), new.version) == ("A:Su B:Yn C:Ox", old.version + 1)


def test_P07_after_a_step_the_updater_takes_the_last_report_for_what_it_is():
    moved = step(chain("B:Su C:Su A:Su", "A B C")).targets
    assert show(judge(heard(moved, [LocalState.UPTODATE] * 3))) == "C:Su A:Su B:Wu"


def test_P09_a_step_that_costs_redundancy_is_refused():
    with pytest.raises(Busy, match=r"redundancy 2 -> 1") as caught:
        step(chain("C:Su A:Su B:Yn", "A B C"))
    assert caught.value.details["left"] == 1


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_not_even_a_forced_step_takes_the_last_server(length):
    wishes = list(itertools.permutations(range(1, length + 1)))
    for targets in every_valid(length):
        for wish in wishes:
            before = Chain(1, 1, targets, wish)
            after = step(before, force=True)
            assert count(after.targets, P.SERVING) or not count(targets, P.SERVING)


def test_P10_the_next_target_becomes_the_last_server():
    rotated = rotate_lastsrv(read("A:Lx B:On C:Ox"))
    assert show(rotated) == "B:Ln C:Ox A:Ox"
    assert show(judge(rotated)) == "B:Sn C:Ox A:Ox"


def test_P11_a_waiting_target_becomes_the_last_server():
    assert show(rotate_lastsrv(read("A:Lx B:Wn C:Ox"))) == "B:Ln C:Ox A:Ox"


@pytest.mark.parametrize("text", ["A:Lx", "A:Su B:Ox", "A:Cx B:Cx"])
def test_P13_without_a_last_server_nothing_is_rotated(text):
    before = read(text)
    assert rotate_lastsrv(before) is before


def test_rotating_again_and_again_tries_every_target_in_turn():
    targets, tried = read("A:Lx B:Ox C:Ox"), []
    for _ in range(4):
        targets = rotate_lastsrv(targets)
        tried.append(targets[0].target_id)
    assert tried == [*numbers("B C A"), number("B")]


@pytest.mark.parametrize("order", [[], [1, 1], [1, 26]])
def test_P15_an_order_that_cannot_be_preferred(order):
    with pytest.raises(BadInput):
        prefer(chain("A:S B:S"), order)


def test_P17_preferring_an_order_is_a_visible_change_that_keeps_the_version():
    before = chain("A:S B:S")
    after = prefer(before, [2])
    assert after != before
    assert (after.preferred, after.version) == ((2,), before.version)


@given(st.permutations(range(1, 5)), st.permutations(range(1, 5)))
def test_steps_with_a_full_sync_after_each_reach_any_order(order, wanted):
    now = chain(" ".join(f"{chr(64 + i)}:Su" for i in order), " ".join(chr(64 + i) for i in wanted))
    for _ in range(12):
        now = step(now)
        for local in (LocalState.ONLINE, LocalState.UPTODATE):
            synced = [t.local if t.public is P.SERVING else local for t in now.targets]
            now = now.arranged(judge(heard(now.targets, synced)))
        assert {t.public for t in now.targets} == {P.SERVING}
    assert now.target_ids == tuple(wanted)


@pytest.mark.parametrize(
    ("wanting", "running", "limits", "admitted"),
    [
        ([(1, 10), (2, 11), (3, 12)], {}, Limits(chains=2), (1, 2)),
        ([(1, 10), (2, 10), (3, 11)], {}, Limits(), (1, 3)),
        ([(1, 10), (2, 11)], {7: 10}, Limits(), (2,)),
        ([(1, 10), (2, 11)], {1: 12}, Limits(), (2,)),
        ([(1, 10)], {7: 11}, Limits(chains=1), ()),
        ([(1, 10), (2, 10)], {}, Limits(per_node=2), (1, 2)),
    ],
)
def test_guarded_reordering_admits_few_chains_and_few_on_a_node(wanting, running, limits, admitted):
    assert admit(wanting, running, limits) == admitted


def test_explain_names_the_rule_that_moved_each_target():
    before = read("A:Sx B:Su C:Yn D:On")
    lines = explain(before, judge(before))
    assert [line.split(":")[0] for line in lines] == [
        "target 2 stays SERVING",
        "target 3 stays SYNCING",
        "target 4 goes OFFLINE -> WAITING",
        "target 1 goes SERVING -> OFFLINE",
    ]
    assert "waits until the target that syncs is done" in lines[2]


def test_explain_tells_what_an_operator_did():
    before = chain("B:Su C:Su A:Su", "A B C")
    assert explain(before.targets, step(before).targets) == (
        "target 3 stays SERVING and moves from place 2 to 1: an operator's change",
        "target 1 stays SERVING and moves from place 3 to 2: an operator's change",
        "target 2 goes SERVING -> OFFLINE and moves from place 1 to 3: an operator's change",
    )
    assert explain(read("A:Su B:Ox"), read("A:Su C:Ox")) == (
        "target 1 stays SERVING: unchanged",
        "target 3 is added as OFFLINE: an operator's change",
        "target 2 is removed: an operator's change",
    )


def test_explain_tells_that_a_chain_opened():
    before = read("A:Cx B:Cn")
    assert explain(before, read("B:Sn A:Ox"))[0] == (
        "target 2 goes CREATED -> SERVING and moves from place 2 to 1: its chain opened"
    )
