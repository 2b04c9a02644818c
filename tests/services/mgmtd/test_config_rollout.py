"""Staged roll-outs: who is in a stage, what halts one, and what never happens."""

from __future__ import annotations

import json
from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadInput, Busy
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.history import History
from svcmgr.services.mgmtd.config.rollevents import (
    AbortAsked,
    Announce,
    Effect,
    HaltAsked,
    NodeFellSilent,
    NodeLeft,
    NodeReported,
    Persist,
    ResumeAsked,
    RollBack,
    RolledBack,
    Ticked,
)
from svcmgr.services.mgmtd.config.rollmachine import Phase
from svcmgr.services.mgmtd.config.rollout import Rollout, rolled_back
from svcmgr.services.mgmtd.config.rollstate import STORED_MAX, Pace, Plan, State, decode, encode
from svcmgr.services.mgmtd.config.stages import TOP_BOUND, Stage, bound, parse_stages, rank
from svcmgr.services.mgmtd.config.version import Proposal
from svcmgr.services.mgmtd.errors import InvalidConfigVersion
from svcmgr.services.mgmtd.states import ConfigStatus

N, D, F = ConfigStatus.NORMAL, ConfigStatus.DIRTY, ConfigStatus.FAILED
PACE = Pace(soak_s=60, settle_s=300)
HISTORY = History("storage").set(Proposal("a = 1"), 0.0).set(Proposal("a = 2"), 1.0)


def facts(number: int, **tags: str) -> Facts:
    return Facts(number, f"h{number}", "storage", tags)


def plan(stages: str = "10%,50%,100%", pace: Pace = PACE, name: str = "r1") -> Plan:
    return Plan(name, "storage", 1, 2, parse_stages(stages), pace)


class Cluster:
    """Nodes that do what their roll-out assigns, unless they are told to refuse."""

    def __init__(self, rollout: Rollout, nodes: Iterable[Facts]) -> None:
        self.rollout = rollout
        self.nodes = {node.id: node for node in nodes}
        self.versions = dict.fromkeys(self.nodes, 1)
        self.refusing: set[int] = set()
        self.now = 0.0
        self.effects: list[Effect] = []
        for node in self.nodes.values():
            self.effects += rollout.handle(NodeReported(node, 1, N), 0.0)
        self.effects += rollout.begin(0.0)

    @property
    def phase(self) -> Phase:
        return self.rollout.state.phase

    def with_new(self) -> set[int]:
        return {node for node, version in self.versions.items() if version == 2}

    def beat(self) -> None:
        """One heartbeat of each node, which takes what it is offered."""
        for number, node in self.nodes.items():
            offered = self.rollout.assigned(node, self.versions[number])
            assert offered in {1, 2, self.rollout.state.final}
            refuses = number in self.refusing and offered == 2
            if not refuses:
                self.versions[number] = max(self.versions[number], offered)
            self.tell(NodeReported(node, self.versions[number], F if refuses else N))

    def tell(self, event: object) -> list[Effect]:
        made = self.rollout.handle(event, self.now)  # type: ignore[arg-type]
        self.effects += made
        return made

    def tick(self) -> list[Effect]:
        """To the next deadline."""
        assert self.rollout.next_deadline is not None
        self.now = self.rollout.next_deadline
        return self.tell(Ticked())


def cluster(count: int = 20, stages: str = "10%,50%,100%", pace: Pace = PACE, **tags: str) -> Cluster:
    return Cluster(Rollout(State(plan(stages, pace))), [facts(number, **tags) for number in range(1, count + 1)])


# --- stages -------------------------------------------------------------------------------------


def test_stages_are_read_and_end_with_everyone():
    stages = parse_stages("1%, zone=a,canary , 12.5%")
    assert stages == (Stage(1), Stage(None, "zone", "a"), Stage(None, "canary"), Stage(12.5), Stage(100))
    assert ",".join(map(str, stages)) == "1%,zone=a,canary,12.5%,100%"
    assert parse_stages("100%") == (Stage(100),)


@pytest.mark.parametrize(
    "text",
    ["", ",", "0%", "101%", "x%", "-1%", "10%,5%", "5%,5%", "100%,zone=a", "1.2345%", "a=b=c", "1%," * 60, "x" * 20000],
)
def test_stages_that_are_none_are_refused(text):
    with pytest.raises(BadInput):
        parse_stages(text)


@pytest.mark.parametrize("fields", [{}, {"share": 5, "tag": "x"}, {"share": 5, "value": "x"}, {"share": float("nan")}])
def test_a_stage_is_a_share_or_a_tag(fields):
    with pytest.raises(BadInput):
        Stage(**fields)


def test_a_tag_selects_those_that_have_it():
    assert Stage(tag="zone", value="a").selects(facts(1, zone="a"))
    assert not Stage(tag="zone", value="a").selects(facts(1, zone="b"))
    assert Stage(tag="zone").selects(facts(1, zone=""))
    assert not Stage(tag="zone").selects(facts(1))
    assert not Stage(share=50).selects(facts(1))


def test_ranks_are_the_same_for_everyone_and_other_for_another_roll_out():
    assert rank("r1", 1) == 0x5359C0DB14719F5A, "stored roll-outs count on it"
    assert sorted(range(50), key=lambda node: rank("r1", node)) != sorted(range(50), key=lambda node: rank("r2", node))


@given(st.lists(st.integers(0, TOP_BOUND), unique=True, max_size=60), st.floats(0.1, 100), st.floats(0.1, 100))
def test_a_larger_share_holds_every_smaller_one_and_none_is_empty(ranks, one, other):
    small, large = sorted((one, other))
    first = bound(ranks, small, -1)
    second = bound(ranks, large, first)
    inside = [sum(each <= limit for each in ranks) for limit in (first, second)]
    assert first <= second
    if ranks:
        assert 1 <= inside[0] <= len(ranks) * small / 100 + 1
        assert inside[1] <= len(ranks) * large / 100 + 1


def test_a_bound_never_falls_when_nodes_leave():
    assert bound([5, 6], 50, before=9) == 9
    assert bound([], 50, before=9) == 9
    assert bound([5], 100, before=9) == TOP_BOUND


# --- the way through ----------------------------------------------------------------------------


def test_a_roll_out_that_goes_well():
    it = cluster()
    assert isinstance(it.effects[0], Persist)
    reached = []
    while it.phase is not Phase.FINISHED:
        it.beat()
        assert it.phase is Phase.SOAKING
        reached.append(len(it.with_new()))
        it.beat()
        assert len(it.with_new()) == reached[-1], "nobody more while it soaks"
        it.tick()
    assert reached == [2, 10, 20]
    assert it.now == 180.0
    assert it.rollout.next_deadline is None
    assert it.rollout.assigned(facts(99), 0) == 2
    assert all(isinstance(effect, Persist | Announce) for effect in it.effects)


def test_a_share_of_few_nodes_is_one_node():
    it = cluster(count=3, stages="1%,100%")
    it.beat()
    assert len(it.with_new()) == 1


def test_a_stage_by_tag_is_added_to_those_before():
    nodes = [facts(number, zone="a" if number < 5 else "b") for number in range(1, 21)]
    it = Cluster(Rollout(State(plan("zone=a,10%"))), nodes)
    it.beat()
    assert it.with_new() == {1, 2, 3, 4}
    it.tick()
    it.beat()
    assert {1, 2, 3, 4} <= it.with_new()


def test_a_roll_out_without_nodes_ends():
    it = cluster(count=0)
    for _ in range(3):
        assert it.phase is Phase.SOAKING
        it.tick()
    assert it.phase is Phase.FINISHED


def test_a_dirty_node_has_taken_it():
    it = cluster(count=1, stages="100%")
    it.tell(NodeReported(facts(1), 2, D))
    assert it.phase is Phase.SOAKING


def test_a_node_that_joins_the_stage_is_waited_for_and_one_outside_is_not():
    it = cluster(count=20, stages="50%")
    it.beat()
    inside = next(n for n in range(100, 999) if rank("r1", n) <= it.rollout.state.bound)
    outside = next(n for n in range(100, 999) if rank("r1", n) > it.rollout.state.bound)
    it.tell(NodeReported(facts(outside), 1, N))
    assert it.phase is Phase.SOAKING
    it.tell(NodeReported(facts(inside), 1, N))
    assert it.phase is Phase.RUNNING
    assert it.rollout.progress().waiting == (inside,)
    it.tell(NodeReported(facts(inside), 2, N))
    assert it.phase is Phase.SOAKING


# --- what halts it ------------------------------------------------------------------------------


def test_the_first_node_that_fails_halts_it_and_nobody_gets_the_version_any_more():
    it = cluster(stages="50%")
    chosen = sorted(n for n in it.nodes if it.rollout.assigned(it.nodes[n], 1) == 2)
    it.refusing = {chosen[4]}
    it.beat()
    assert it.phase is Phase.HALTED
    assert it.rollout.state.failed == (chosen[4],)
    assert str(chosen[4]) in it.rollout.state.reason
    assert it.with_new() == set(chosen[:4])
    before = it.with_new()
    it.beat()
    assert it.with_new() == before
    assert it.rollout.next_deadline is None


def test_it_halts_at_the_number_of_failures_that_was_given():
    it = cluster(count=10, stages="100%", pace=Pace(soak_s=60, settle_s=300, halt_at=3))
    it.refusing = {1, 2}
    it.beat()
    assert it.phase is Phase.SOAKING, "two of three are tolerated"
    assert it.rollout.progress().failed == (1, 2)
    it.tell(NodeReported(facts(3), 1, F))
    assert it.phase is Phase.HALTED


def test_a_node_that_fails_outside_of_the_stage_halts_it_when_its_stage_comes():
    it = cluster(stages="10%,100%")
    outside = next(n for n in it.nodes if it.rollout.assigned(it.nodes[n], 1) == 1)
    it.beat()
    it.tell(NodeReported(facts(outside), 1, F))
    assert it.phase is Phase.SOAKING
    it.tick()
    assert it.phase is Phase.HALTED


def test_a_failure_while_it_soaks_halts_it():
    it = cluster(count=2, stages="100%")
    it.beat()
    it.tell(NodeReported(facts(1), 2, F))
    assert it.phase is Phase.HALTED


def test_a_stage_that_does_not_settle_halts_it_and_names_who_is_missing():
    it = cluster(count=3, stages="100%")
    it.tell(NodeReported(facts(2), 2, N))
    assert it.tell(Ticked()) == [], "too early"
    it.tick()
    assert (it.phase, it.now) == (Phase.HALTED, 300.0)
    assert "1, 3" in it.rollout.state.reason


def test_a_silent_node_holds_it_up_until_it_is_back_or_leaves():
    it = cluster(count=3, stages="100%")
    it.beat()
    it.tell(NodeFellSilent(2))
    it.tell(NodeFellSilent(77))
    assert it.phase is Phase.RUNNING
    it.tell(NodeReported(facts(2), 2, N))
    assert it.phase is Phase.SOAKING
    it.tell(NodeFellSilent(3))
    it.tell(NodeLeft(3))
    assert it.phase is Phase.SOAKING
    it.tick()
    assert it.phase is Phase.FINISHED


# --- what an operator does ----------------------------------------------------------------------


def test_resume_forgives_those_that_failed_and_no_others():
    it = cluster(count=4, stages="100%")
    it.refusing = {1}
    it.beat()
    it.tell(ResumeAsked("ann"))
    assert it.phase is Phase.RUNNING
    it.beat()
    assert it.phase is Phase.SOAKING
    assert it.with_new() == {2, 3, 4}
    it.tell(NodeReported(facts(2), 2, F))
    assert it.phase is Phase.HALTED


def test_who_took_the_version_after_all_is_forgiven_no_more():
    it = cluster(count=2, stages="100%")
    it.tell(NodeReported(facts(1), 1, F))
    it.tell(ResumeAsked("ann"))
    it.tell(NodeReported(facts(1), 2, N))
    it.tell(NodeReported(facts(1), 2, F))
    assert it.phase is Phase.HALTED


def test_halt_by_hand():
    it = cluster()
    effects = it.tell(HaltAsked("ann"))
    assert it.phase is Phase.HALTED
    assert isinstance(effects[0], Persist)
    it.beat()
    assert it.with_new() == set()


def test_an_abort_rolls_back_and_everyone_gets_the_old_content_under_a_new_number():
    it = cluster(stages="50%")
    it.beat()
    effects = it.tell(AbortAsked("ann"))
    assert RollBack(2, 1) in effects
    assert isinstance(effects[0], Persist), "stored before anything is done"
    it.beat()
    assert len(it.with_new()) == 10
    history = rolled_back(HISTORY, RollBack(2, 1), "ann", 5.0)
    assert (history.newest.version, history.newest.content) == (3, "a = 1")
    assert history.newest.origin == "rollback of 2 to 1"
    assert rolled_back(history, RollBack(2, 1), "ann", 6.0) is history
    it.tell(RolledBack(3))
    it.beat()
    assert it.phase is Phase.ABORTED
    assert set(it.versions.values()) == {3}
    assert it.rollout.state.versions == {1, 2, 3}


def test_what_the_phase_does_not_allow_is_refused_and_changes_nothing():
    it = cluster()
    before = it.rollout.state
    for event in (ResumeAsked("ann"), RolledBack(3)):
        with pytest.raises(Busy):
            it.tell(event)
    it.tell(AbortAsked("ann"))
    assert it.tell(AbortAsked("bob"))[0] == RollBack(2, 1), "once more, if the first was lost"
    with pytest.raises(BadInput):
        it.tell(RolledBack(2))
    for event in (HaltAsked("ann"), ResumeAsked("ann")):
        with pytest.raises(Busy):
            it.tell(event)
    assert it.rollout.state.stage == before.stage
    it.tell(RolledBack(3))
    for event in (HaltAsked("ann"), ResumeAsked("ann"), AbortAsked("ann"), RolledBack(4)):
        with pytest.raises(Busy):
            it.tell(event)


# --- a new primary ------------------------------------------------------------------------------


def test_a_new_primary_goes_on_with_the_same_nodes():
    it = cluster(stages="50%")
    it.beat()
    stored = [effect.state for effect in it.effects if isinstance(effect, Persist)][-1]
    second = Rollout(decode(encode(stored)))
    for number, node in it.nodes.items():
        assert second.assigned(node, 1) == it.rollout.assigned(node, 1), number
        second.handle(NodeReported(node, it.versions[number], N), 1000.0)
    assert second.begin(1000.0) == []
    assert second.state.phase is Phase.SOAKING
    assert second.next_deadline == 1060.0


def test_a_new_primary_knows_why_it_was_halted_and_carries_an_abort_through():
    it = cluster(count=2, stages="100%")
    it.refusing = {1}
    it.beat()
    second = Rollout(decode(encode(it.rollout.state)))
    assert second.begin(5.0) == []
    assert (second.state.phase, second.progress().failed) == (Phase.HALTED, (1,))
    second.handle(AbortAsked("ann"), 6.0)
    third = Rollout(decode(encode(second.state)))
    assert third.begin(7.0) == [RollBack(2, 1)]
    third.handle(RolledBack(3), 8.0)
    fourth = Rollout(decode(encode(third.state)))
    assert fourth.begin(9.0) == []
    assert fourth.assigned(facts(9), 2) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"rollout": 1},
        {"stage": 3},
        {"stage": -2},
        {"bound": 2**64},
        {"phase": "sleeping"},
        {"phase": "aborted"},
        {"final": 9},
        {"failed": ["x"]},
        {"plan": {}},
        {"stages": []},
        {"pace": {"halt_at": 0}},
        {"to_version": 1},
        {"id": ""},
    ],
)
def test_a_stored_roll_out_that_is_damaged_is_refused(change):
    stored = json.loads(encode(State(plan())))
    for key, value in change.items():
        place = next((d for d in (stored, stored["rollout"], stored["rollout"]["plan"]) if key in d), stored)
        place[key] = value
    with pytest.raises(BadInput):
        decode(json.dumps(stored).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 5000, b" " * (STORED_MAX + 1), b"null"])
def test_what_is_no_stored_roll_out_is_refused(data):
    with pytest.raises(BadInput):
        decode(data)


def test_a_plan_is_of_versions_that_are_stored_and_ends_with_the_newest():
    plan().check(HISTORY)
    with pytest.raises(InvalidConfigVersion):
        attrs.evolve(plan(), to_version=3).check(HISTORY)
    with pytest.raises(InvalidConfigVersion):
        plan().check(HISTORY.without((1,)))
    with pytest.raises(BadInput):
        plan().check(HISTORY.set(Proposal("a = 3"), 2.0))
    with pytest.raises(BadInput):
        plan().check(attrs.evolve(HISTORY, node_type="meta"))


@pytest.mark.parametrize(
    "fields", [{"from_version": 2}, {"from_version": -1}, {"id": "a\n"}, {"id": "x" * 101}, {"stages": (Stage(5),)}]
)
def test_a_plan_that_is_none_is_refused(fields):
    with pytest.raises(BadInput):
        attrs.evolve(plan(), **fields)


@pytest.mark.parametrize(
    "fields", [{"soak_s": -1}, {"settle_s": float("inf")}, {"soak_s": float("nan")}, {"halt_at": 0}]
)
def test_a_pace_that_is_none_is_refused(fields):
    with pytest.raises(BadInput):
        attrs.evolve(PACE, **fields)


# --- whatever happens ---------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.integers(1, 12), st.sampled_from([N, D, F])),
        st.tuples(st.just("take"), st.integers(1, 16), st.just(N)),
        st.tuples(st.sampled_from(["silent", "left"]), st.integers(1, 12), st.just(N)),
        st.tuples(st.sampled_from(["tick", "halt", "resume", "abort", "rolled", "failover"]), st.just(0), st.just(N)),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(STEPS, st.sampled_from(["10%,50%", "zone=a,30%", "100%", "zone=a,zone=b"]), st.integers(1, 3))
def test_whatever_happens_a_halted_roll_out_gives_nothing_new_and_stages_only_grow(steps, stages, halt_at):
    nodes = {number: facts(number, zone="ab"[number % 2]) for number in range(1, 17)}
    versions = dict.fromkeys(nodes, 1)
    rollout = Rollout(State(plan(stages, Pace(60, 300, halt_at))))
    for number in range(1, 13):
        rollout.handle(NodeReported(nodes[number], 1, N), 0.0)
    rollout.begin(0.0)
    now, offered = 0.0, offers(rollout, nodes)
    for what, number, status in steps:
        state = rollout.state
        if what == "failover":
            rollout = restarted(rollout, nodes, versions, now)
        elif what == "take":
            versions[number] = max(versions[number], rollout.assigned(nodes[number], versions[number]))
            rollout.handle(NodeReported(nodes[number], versions[number], status), now)
        else:
            now = max(now, rollout.next_deadline or now) if what == "tick" else now
            play(rollout, what, nodes.get(number), versions.get(number, 1), status, now)
        again = offers(rollout, nodes)
        check(rollout, state, offered, again)
        offered = again if rollout.state.phase in (Phase.RUNNING, Phase.SOAKING) else offered


def play(rollout, what, node, version, status, now):
    """One step; what the phase does not allow is refused."""
    event = {
        "report": lambda: NodeReported(node, version, status),
        "silent": lambda: NodeFellSilent(node.id),
        "left": lambda: NodeLeft(node.id),
        "tick": Ticked,
        "halt": lambda: HaltAsked("ann"),
        "resume": lambda: ResumeAsked("ann"),
        "abort": lambda: AbortAsked("ann"),
        "rolled": lambda: RolledBack(3),
    }[what]()
    before = rollout.state
    try:
        rollout.handle(event, now)
    except Busy:
        assert rollout.state == before


def restarted(rollout, nodes, versions, now):
    again = Rollout(decode(encode(rollout.state)))
    for number, node in nodes.items():
        again.handle(NodeReported(node, versions[number], N), now)
    again.begin(now)
    return again


def offers(rollout: Rollout, nodes: dict[int, Facts]) -> set[int]:
    """Nodes with the old version that would get the new one now."""
    return {number for number, node in nodes.items() if rollout.assigned(node, 1) == 2}


def check(rollout: Rollout, before: State, offered: set[int], again: set[int]) -> None:
    state = rollout.state
    stored = {1, 2, state.final}
    assert {rollout.assigned(facts(number), version) for number in range(1, 40) for version in (0, 1, 2)} <= stored
    if state.phase in (Phase.HALTED, Phase.ABORTING, Phase.ABORTED):
        assert again == set()
        assert rollout.assigned(facts(1), 2) != 1, "nobody is sent back"
    else:
        assert again >= offered, "a stage holds every earlier one"
    assert state.stage >= before.stage
    assert state.bound >= before.bound
    assert before.active or state == before
