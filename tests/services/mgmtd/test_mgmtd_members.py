"""Setting chains and chain tables, adding and removing targets."""

from __future__ import annotations

import attrs
import pytest

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.chains import judge
from svcmgr.services.mgmtd.errors import ChainNotFound, InvalidChainTable, TargetExisted, TargetNotFound
from svcmgr.services.mgmtd.members import ChainSetting, add_target, new_chains, remove_target
from svcmgr.services.mgmtd.states import LocalState, PublicState
from svcmgr.services.mgmtd.tables import ChainRef, ChainTable, TableSetting, next_table, resolve
from svcmgr.services.mgmtd.targets import ChainTarget
from tests.kit.chains import chain, heard, number, numbers, show

ONE = Chain(1, 1, (ChainTarget(101, PublicState.CREATED), ChainTarget(102, PublicState.CREATED)))
THERE = {1: ONE}
OWNED = {101: 1, 102: 1}


def asked(*chains):
    return [ChainSetting(chain_id, targets) for chain_id, targets in chains]


def test_C01_new_chains_begin_at_version_1_and_serve_once_heard():
    (made,) = new_chains(asked((1, [101, 102])), {}, {})
    assert made == ONE
    alive = made.arranged(judge(heard(made.targets, [LocalState.ONLINE] * 2)))
    assert {t.public for t in alive.targets} == {PublicState.SERVING}


@pytest.mark.parametrize("targets", [[101, 102], [102, 101]])
def test_C02_the_same_chain_again_needs_nothing(targets):
    assert new_chains(asked((1, targets)), THERE, OWNED) == ()


@pytest.mark.parametrize(
    "request_",
    [
        [(1, [101, 103])],
        [(1, [101])],
        [(2, [101, 201])],
        [(2, [201, 201])],
        [(2, [])],
        [(0, [201])],
        [],
        [(2, [201]), (3, [201])],
        [(2, [0])],
        [(2**32, [201])],
        [(2, range(1000, 1065))],
    ],
)
def test_C03_chains_that_contradict(request_):
    with pytest.raises(InvalidChainTable):
        new_chains(asked(*request_), THERE, OWNED)


def test_C05_a_chain_id_twice_in_one_request():
    with pytest.raises(InvalidChainTable):
        new_chains(asked((4, [401]), (4, [402])), THERE, OWNED)


def test_an_order_is_kept_as_preferred_when_asked_for():
    made = new_chains([ChainSetting(2, [8, 7], keep_order=True), ChainSetting(3, [6])], {}, {})
    assert [one.preferred for one in made] == [(8, 7), ()]


def test_P18_a_target_is_added_at_the_tail_and_in_the_preferred_order():
    before = chain("A:Su B:Su", "A B")
    after = add_target(before, number("D"), {1: 1, 2: 1})
    assert show(after.targets) == "A:Su B:Su D:Ox"
    assert (after.preferred, after.version) == (numbers("A B D"), before.version + 1)


@pytest.mark.parametrize("preferred", ["A", ""])
def test_P19_a_partial_order_is_not_extended(preferred):
    assert add_target(chain("A:Su B:Su", preferred), number("D"), {}).preferred == numbers(preferred)


def test_a_target_of_any_chain_is_not_added():
    with pytest.raises(TargetExisted) as caught:
        add_target(chain("A:Su"), 9, {9: 4})
    assert caught.value.details["chain"] == 4
    with pytest.raises(TargetExisted):
        add_target(chain("A:Su"), 1, {})


def test_a_target_joins_a_created_chain_as_created():
    assert show(add_target(chain("A:Cx"), 2, {}).targets) == "A:Cx B:Cx"


def test_P21_a_target_is_removed_only_when_offline():
    with pytest.raises(BadInput):
        remove_target(chain("A:Su B:Su"), number("B"))
    with pytest.raises(TargetNotFound):
        remove_target(chain("A:Su B:Su"), number("C"))
    before = chain("A:Su B:Ox", "B A")
    after = remove_target(before, number("B"))
    assert (show(after.targets), after.preferred) == ("A:Su", numbers("A"))
    assert after.version == before.version + 1


def test_the_only_target_stays():
    with pytest.raises(BadInput):
        remove_target(chain("A:Cx"), 1)


CHAINS = {
    1: chain("A:Su B:Su"),
    2: attrs.evolve(chain("C:Su D:Su"), chain_id=2),
    3: attrs.evolve(chain("E:Su F:Su"), chain_id=3),
    4: attrs.evolve(chain("G:Su H:Su I:Su"), chain_id=4),
}


def grow(*settings):
    """The versions that appear when these are set one after the other, and what each setting answered."""
    versions, answers = {}, []
    for chains, desc in settings:
        table = next_table(TableSetting(1, chains, desc), versions, CHAINS)
        versions[table.version] = table
        answers.append(table.version)
    return versions, answers


C09 = [([1, 2], ""), ([1, 2, 3], ""), ([1, 2, 3], ""), ([1, 2, 3], "stage"), ([1, 2, 3], "")]


def test_C09_what_makes_a_new_version_of_a_table():
    assert grow(*C09)[1] == [1, 2, 2, 3, 3]


def test_C09_nothing_to_write_is_the_newest_table_itself():
    current = ChainTable(1, 5, (1, 2), "d")
    assert next_table(TableSetting(1, [1, 2]), {4: ChainTable(1, 4, (2,)), 5: current}, CHAINS) is current


def test_C13_old_versions_stay_as_they_were():
    versions, _ = grow(*C09)
    assert versions == {
        1: ChainTable(1, 1, (1, 2)),
        2: ChainTable(1, 2, (1, 2, 3)),
        3: ChainTable(1, 3, (1, 2, 3), "stage"),
    }


def test_C09_going_back_to_old_content_is_a_new_version():
    assert grow(([1, 2], ""), ([1], ""), ([1, 2], ""))[1] == [1, 2, 3]


def test_C10_a_table_of_an_unknown_chain():
    with pytest.raises(ChainNotFound):
        next_table(TableSetting(1, [1, 9]), {}, CHAINS)


@pytest.mark.parametrize(
    "setting",
    [
        TableSetting(1, []),
        TableSetting(1, [1, 4]),
        TableSetting(1, [1, 2, 1]),
        TableSetting(0, [1]),
        TableSetting(2**32, [1]),
        TableSetting(1, [1], "d" * 1001),
    ],
    ids=["empty", "lengths", "C11 duplicate", "C11 id 0", "id too large", "desc too long"],
)
def test_C10_C11_a_table_that_is_refused(setting):
    with pytest.raises(InvalidChainTable):
        next_table(setting, {}, CHAINS)


@pytest.mark.parametrize(
    ("ref", "chain_id"),
    [
        ((0, 0, 2), 2),
        ((0, 0, 9), None),
        ((1, 1, 1), 1),
        ((1, 1, 2), 2),
        ((1, 1, 3), 1),
        ((1, 0, 3), 3),
        ((1, 0, 0), None),
        ((1, 0, -1), None),
        ((1, 9, 1), None),
        ((9, 0, 1), None),
        ((0, 1, 1), None),
    ],
)
def test_a_reference_means_a_chain(ref, chain_id):
    tables = {1: {1: ChainTable(1, 1, (1, 2)), 2: ChainTable(1, 2, (1, 2, 3))}}
    found = resolve(ChainRef(*ref), tables, CHAINS)
    assert (found.chain_id if found else None) == chain_id


@pytest.mark.parametrize("chains", [(), (0,), (1, 2**32)])
def test_a_table_that_cannot_be(chains):
    with pytest.raises(BadInput):
        ChainTable(1, 1, chains)
