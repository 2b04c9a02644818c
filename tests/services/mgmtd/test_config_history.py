"""Versions of a configuration: what is added, found, compared and pruned."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.document import CONTENT_MAX, LINES_MAX
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.history import History, Retention
from svcmgr.services.mgmtd.config.version import BUILT_IN, ConfigVersion, Proposal
from svcmgr.services.mgmtd.errors import InvalidConfigVersion
from svcmgr.services.mgmtd.states import NodeType

DAY_S = 86400.0


def history(*contents: str) -> History:
    made = History("meta")
    for number, content in enumerate(contents):
        made = made.set(Proposal(content, "ann"), float(number), force=True)
    return made


def test_G01_every_type_begins_with_the_built_in_version_0():
    fresh = [History(kind.name.lower()) for kind in NodeType]
    assert [each.newest.version for each in fresh] == [0] * 5
    assert all(each.newest is BUILT_IN and each.newest.content == "" for each in fresh)


def test_G02_versions_are_set_and_got():
    both = History("meta").set(Proposal("a", "ann", "first"), 1.0).set(Proposal("b", "bob"), 2.0)
    assert [(each.version, each.content) for each in both.versions] == [(1, "a"), (2, "b")]
    assert both.newer(0) == both.newer(1) == both.find(2)
    assert both.newer(2) is None
    first = both.find(1)
    assert first is not None
    assert (first.content, first.author, first.desc, first.created, first.origin) == ("a", "ann", "first", 1.0, "")
    assert both.find(9) is None
    assert both.find(0) is BUILT_IN


def test_G03_a_version_that_was_never_made_is_refused():
    with pytest.raises(InvalidConfigVersion) as caught:
        history("a", "b").newer(9)
    assert caught.value.details["newest"] == 2
    assert caught.value.number == 5006
    with pytest.raises(InvalidConfigVersion):
        history("a", "b").newer(-1)


def test_H18_a_node_is_offered_what_is_newer_once():
    three = history("a", "b", "c")
    offered = three.newer(0)
    assert offered is not None
    assert offered.version == 3
    assert three.newer(3) is None


def test_during_a_roll_out_a_node_is_offered_what_is_assigned_and_nothing_older():
    three = history("a", "b", "c")
    assert three.newer(0, offered=2) == three.find(2)
    assert three.newer(2, offered=2) is None
    assert three.newer(3, offered=2) is None


def test_G07_a_rollback_is_a_new_version_that_says_where_it_comes_from():
    back = history("a", "b").rollback(1, "ann", 7.0)
    newest = back.newest
    assert (newest.version, newest.content, newest.origin) == (3, "a", "rollback of 2 to 1")
    assert (newest.author, newest.created) == ("ann", 7.0)
    assert back.versions[:2] == history("a", "b").versions


@pytest.mark.parametrize(("to", "error"), [(2, BadInput), (9, InvalidConfigVersion), (-1, InvalidConfigVersion)])
def test_a_rollback_to_the_newest_or_to_nothing_is_refused(to, error):
    with pytest.raises(error):
        history("a", "b").rollback(to, "ann", 7.0)


def test_a_rollback_to_the_built_in_version_empties_the_text():
    assert history("a").rollback(0, "ann", 1.0).newest.content == ""


def test_G09_the_same_text_again_makes_no_version_unless_forced():
    two = history("a", "b")
    assert two.set(Proposal("b", "bob", "again"), 9.0) is two
    assert two.set(Proposal("b", "bob"), 9.0, force=True).newest.version == 3
    assert two.set(Proposal("a"), 9.0).newest.version == 3, "only the newest counts"
    assert History("meta").set(Proposal(""), 1.0).newest.version == 1, "nobody has set the built-in one"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Proposal("x" * (CONTENT_MAX + 1)),
        lambda: Proposal("é" * (CONTENT_MAX // 2 + 1)),
        lambda: Proposal("\n" * LINES_MAX),
        lambda: Proposal("\ud800"),
    ],
)
def test_a_content_that_cannot_be_kept_is_refused(make):
    with pytest.raises(InvalidConfig):
        make()


@pytest.mark.parametrize("fields", [{"author": "a\nb"}, {"author": "a" * 201}, {"desc": "\x00"}, {"desc": "d" * 1001}])
def test_notes_are_one_printable_line(fields):
    with pytest.raises(BadInput):
        Proposal("", **fields)


def test_a_damaged_version_is_refused():
    good = ConfigVersion.make(1, Proposal("a"), 1.0)
    for damage in ({"hash": "0" * 64}, {"proposal": Proposal("b")}, {"version": -1}, {"version": True}):
        with pytest.raises(BadInput):
            attrs.evolve(good, **damage)
    with pytest.raises(BadInput):
        attrs.evolve(good, created=float("nan"))


def test_versions_out_of_order_are_refused_and_gaps_are_not():
    one, two, five = (ConfigVersion.make(number, Proposal("a"), 1.0) for number in (1, 2, 5))
    for wrong in ((two, one), (one, one), (BUILT_IN, one)):
        with pytest.raises(BadInput):
            History("meta", wrong)
    gaps = History("meta", (two, five))
    assert gaps.newest is five
    assert gaps.find(4) is None
    assert gaps.set(Proposal("b"), 1.0).newest.version == 6


def test_the_number_after_the_last_is_refused():
    last = ConfigVersion.make(2**64 - 1, Proposal("a"), 1.0)
    with pytest.raises(BadInput):
        History("meta", (last,)).set(Proposal("b"), 1.0)


def test_old_versions_that_nobody_needs_can_be_pruned():
    five = history("a", "b", "c", "d", "e")
    keep = Retention(count=2, age_s=DAY_S)
    assert five.prunable(keep, {2}, now=10 * DAY_S) == (1, 3)
    assert five.prunable(keep, (), now=DAY_S) == ()
    assert five.prunable(Retention(count=9, age_s=0), (), now=10 * DAY_S) == ()
    fewer = five.without((1, 3))
    assert [each.version for each in fewer.versions] == [2, 4, 5]
    with pytest.raises(InvalidConfigVersion):
        fewer.rollback(1, "ann", 1.0)
    with pytest.raises(BadInput):
        five.without((5,))


@pytest.mark.parametrize("numbers", [(0, 1.0), (1, -1.0), (1, float("nan"))])
def test_a_retention_that_keeps_nothing_is_refused(numbers):
    with pytest.raises(BadInput):
        Retention(*numbers)


@given(
    contents=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=12),
    count=st.integers(1, 12),
    referenced=st.sets(st.integers(0, 12)),
    age=st.floats(0, 20),
)
def test_pruning_keeps_what_is_referenced_and_never_gives_a_number_twice(contents, count, referenced, age):
    before = history(*contents)
    pruned = before.prunable(Retention(count, age), referenced, now=12.0)
    after = before.without(pruned)
    assert not referenced & set(pruned)
    assert after.newest == before.newest
    assert len(after.versions) >= min(count, len(before.versions))
    assert set(after.versions) <= set(before.versions)
    assert after.set(Proposal("new"), 99.0).newest.version == before.newest.version + 1
    assert after.prunable(Retention(count, age), referenced, now=12.0) == ()
