"""The chain function: the spec's table, every chain up to four targets, and what is remembered of the rest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.services.mgmtd.chain import Chain, differs, role_word, status_word
from svcmgr.services.mgmtd.chains import judge, open_chain, shut_down
from svcmgr.services.mgmtd.states import LocalState, PublicState
from svcmgr.services.mgmtd.targets import ChainTarget
from tests.kit.chains import LOCAL, chain, every_valid, heard, read, show, step_breaches

P, L = PublicState, LocalState

CASES = {
    "M01": ("A:Su B:Su C:Su", "A:Su B:Su C:Su"),
    "M02": ("A:Sn B:Sn C:Sn", "A:Sn B:Sn C:Sn"),
    "M04": ("A:Su B:Sx C:Su", "A:Su C:Su B:Ox"),
    "M05": ("A:Su B:Su C:Sx", "A:Su B:Su C:Ox"),
    "M07": ("A:Su B:Sx C:Sx", "A:Su C:Ox B:Ox"),
    "M08": ("A:Sx B:Su C:Sx", "B:Su C:Ox A:Ox"),
    "M10": ("A:Sx B:Sx C:Sx", "A:Lx B:Ox C:Ox"),
    "M11": ("A:Sx B:Sx C:Ox", "A:Lx B:Ox C:Ox"),
    "M13": ("A:Ln", "A:Sn"),
    "M14": ("A:Ln B:Ox C:Ox", "A:Sn B:Ox C:Ox"),
    "M16": ("A:Ln B:On C:On", "A:Sn B:Yn C:Wn"),
    "M17": ("A:Lx B:On C:Ou", "A:Lx B:Wn C:Wu"),
    "M19": ("A:Lx B:Ox C:Ox", "A:Lx B:Ox C:Ox"),
    "M20": ("B:Su C:Su A:On", "B:Su C:Su A:Yn"),
    "M22": ("A:Su B:On C:On", "A:Su B:Yn C:Wn"),
    "M23": ("A:Su B:On C:Wn", "A:Su C:Yn B:Wn"),
    "M25": ("A:Su B:Yu C:Wn", "A:Su B:Su C:Yn"),
    "M26": ("A:Su B:Su C:Yu", "A:Su B:Su C:Su"),
    "M28": ("A:Sx B:Yu C:Ox", "B:Su C:Ox A:Ox"),
    "M29": ("A:Su B:Su C:Yx", "A:Su B:Su C:Ox"),
    "M31": ("A:Su B:Yn C:Wx", "A:Su B:Yn C:Ox"),
    "M32": ("A:Su B:Wu", "A:Su B:Wu"),
    "M34": ("A:Su B:Sx C:Sx D:Su", "A:Su D:Su C:Ox B:Ox"),
    "M35": ("A:Sx B:Su C:Sx D:Yn", "B:Su D:Yn C:Ox A:Ox"),
    "M37": ("A:Ln B:Ln C:Ln", "A:Sn B:On C:On"),
    "M38": ("A:Lx B:Ln C:Lx", "B:Sn C:Ox A:Ox"),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES.keys())
def test_M01_to_M38_the_table_of_the_chain_function(before, after):
    assert show(judge(read(before))) == after


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES.keys())
def test_M01_to_M38_a_change_of_a_chain_is_one_version(before, after):
    old = chain(before)
    assert old.arranged(judge(old.targets)).version - old.version == (before != after)


@pytest.mark.parametrize("name", [name for name in CASES if name != "M37"])
def test_M40_a_second_run_changes_nothing(name):
    once = judge(read(CASES[name][0]))
    assert judge(once) is once


def test_M37_after_an_offline_shutdown_the_second_run_begins_the_sync():
    assert show(judge(judge(read(CASES["M37"][0])))) == "A:Sn B:Yn C:Wn"


@pytest.mark.parametrize(("length", "chains"), [(1, 6), (2, 54), (3, 324), (4, 1620)])
def test_M41_I1_to_I13_hold_for_every_valid_chain(length, chains):
    number = 0
    for before in every_valid(length):
        number += 1
        after = judge(before)
        assert list(step_breaches(before, after)) == [], f"{show(before)} -> {show(after)}"
        assert judge(after) is after, f"I13: {show(before)} -> {show(after)}"
    assert number == chains


@pytest.mark.parametrize(("length", "orders", "shapes"), [(2, 12, 6), (3, 72, 12)])
def test_M41_I14_what_can_be_reached_from_a_healthy_chain(length, orders, shapes):
    start = tuple(ChainTarget(number + 1, P.SERVING) for number in range(length))
    seen, todo = set(), [start]
    while todo:
        targets = todo.pop()
        key = tuple((target.target_id, target.public) for target in targets)
        if key not in seen:
            seen.add(key)
            todo += [judge(heard(targets, locals_)) for locals_ in _products(length)]
    assert len(seen) == orders
    assert len({tuple(state for _, state in key) for key in seen}) == shapes


def _products(length):
    if length == 0:
        return [()]
    return [(local, *rest) for local in LOCAL.values() for rest in _products(length - 1)]


#: old public state, local state -> the new ones that the transition table allows
ALLOWED = {
    (P.SERVING, True): {P.SERVING},
    (P.SERVING, False): {P.LASTSRV, P.OFFLINE},
    (P.LASTSRV, True): {P.SERVING, P.OFFLINE},
    (P.LASTSRV, False): {P.LASTSRV, P.OFFLINE},
    (P.SYNCING, True): {P.SERVING, P.SYNCING, P.WAITING},
    (P.SYNCING, False): {P.OFFLINE},
    (P.WAITING, True): {P.SYNCING, P.WAITING},
    (P.WAITING, False): {P.OFFLINE},
    (P.OFFLINE, True): {P.SYNCING, P.WAITING},
    (P.OFFLINE, False): {P.OFFLINE},
}


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_M41_every_change_is_in_the_transition_table(length):
    used = set()
    for before in every_valid(length):
        old = {target.target_id: target.public for target in before}
        for target in judge(before):
            was = old[target.target_id]
            assert target.public in ALLOWED[was, target.local is not L.OFFLINE]
            used.add((was, target.local, target.public))
            if target.local is L.UPTODATE and was in (P.SYNCING, P.WAITING, P.OFFLINE):
                assert target.public is (P.SERVING if was is P.SYNCING else P.WAITING)
    assert {new for _, _, new in used} >= {P.SERVING, P.LASTSRV}


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_M43_a_chain_recovers_from_any_history(length, seed):
    rng = random.Random(seed)
    targets = tuple(ChainTarget(number + 1, P.SERVING) for number in range(length))
    for _ in range(100):
        targets = judge(heard(targets, rng.choices(tuple(LOCAL.values()), k=length)))
    for _ in range(5):
        targets = judge(heard(targets, [L.ONLINE] * length))
        targets = judge(heard(targets, [L.UPTODATE if t.public is P.SYNCING else t.local for t in targets]))
    assert {target.public for target in targets} == {P.SERVING}


@given(st.lists(st.tuples(st.sampled_from(P), st.sampled_from(L)), max_size=9))
def test_any_targets_at_all_are_judged_and_none_is_lost(states):
    before = tuple(ChainTarget(number + 1, public, local) for number, (public, local) in enumerate(states))
    after = judge(before)
    assert sorted(t.target_id for t in after) == [t.target_id for t in before]
    assert {t.target_id: t.local for t in after} == {t.target_id: t.local for t in before}
    assert [t.public for t in after] == sorted(t.public for t in after)
    assert P.INVALID not in {t.public for t in after}


def test_a_state_that_should_not_occur_is_taken_for_offline():
    mixed = (ChainTarget(1, P.SERVING, L.UPTODATE), ChainTarget(2, P.INVALID), ChainTarget(3, P.CREATED, L.ONLINE))
    assert show(judge(mixed)) == "A:Su C:Yn B:Ox"


def test_C07_a_chain_that_never_served_stays_created():
    created = read("A:Cx B:Cx")
    assert judge(created) is created
    assert open_chain(created) is created


@pytest.mark.parametrize(
    ("before", "judged", "opened"),
    [
        ("A:Cn B:Cx", "A:Cn B:Cx", "A:Sn B:Ox"),
        ("A:Cx B:Cu C:Cn", "A:Cx B:Cu C:Cn", "B:Su C:Sn A:Ox"),
        ("A:Cn B:Cu", "A:Sn B:Su", "A:Sn B:Su"),
        ("A:Su B:Ox", "A:Su B:Ox", "A:Su B:Ox"),
    ],
)
def test_C07_a_created_chain_serves_when_all_are_there_or_its_time_is_over(before, judged, opened):
    assert show(judge(read(before))) == judged
    assert show(open_chain(read(before))) == opened


def test_P14_offline_shutdown():
    before = chain("A:S B:S C:Y D:W")
    after = before.arranged(shut_down(before.targets))
    assert show(after.targets) == "A:Lx B:Lx C:Ox D:Ox"
    assert after.version == before.version + 1


@pytest.mark.parametrize("text", ["A:L B:O", "A:O", "A:C B:C"])
def test_P14_a_chain_that_does_not_serve_is_left_by_a_shutdown(text):
    before = chain(text)
    assert before.arranged(shut_down(before.targets)) == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("A:S B:Y", "SYNCING"),
        ("A:S B:S", "SERVING"),
        ("A:L B:O", "UNAVAILABLE"),
        ("A:S B:S C:O", "SERVING(2/3)"),
        ("A:C B:C", "CREATED"),
    ],
)
def test_X01_status_of_a_chain(text, word):
    assert status_word(read(text)) == word


def test_X02_roles():
    assert [role_word(place, 3) for place in range(3)] == ["HEAD", "MIDDLE", "TAIL"]
    assert role_word(0, 1) == "HEAD"


def test_local_states_alone_do_not_raise_the_version():
    before = chain("A:Su B:Su")
    after = before.arranged(read("A:Sn B:Sx"))
    assert (after.version, show(after.targets)) == (before.version, "A:Sn B:Sx")
    assert differs(before.targets, before.targets[:1])


def test_the_last_chain_version_is_not_passed():
    last = chain("A:Su B:Sx", version=2**32 - 1)
    with pytest.raises(Exception, match="chain version") as caught:
        last.arranged(judge(last.targets))
    assert caught.value.code == "bad-input"


@pytest.mark.parametrize(
    ("targets", "preferred"),
    [("", ()), ("A:S A:S", ()), ("A:S B:S", (1, 1)), ("A:S B:S", (3,)), (" ".join(["A:S"] * 65), ())],
)
def test_a_chain_that_cannot_be(targets, preferred):
    with pytest.raises(Exception, match="cannot") as caught:
        Chain(1, 1, read(targets), preferred)
    assert caught.value.code == "bad-input"
