"""Bringing a new version to the nodes of a type step by step.

Theory of operation. The engine is asked which version a node should have (:meth:`Rollout.assigned`), and told what
nodes report. It answers the first from its state and the node's rank and tags alone, and never with anything but the
old version, the new one, or the one that an abort made; since a node takes only what is newer, a node that has the new
version keeps it whatever the stage. While it is halted, the new version is named to no node that does not have it.

A stage is *settled* when each of its nodes runs with the new version, NORMAL or DIRTY. A node that is silent holds it
up: nobody knows whether the version was the cause. A FAILED node that is forgiven, or one of fewer than ``halt_at``,
does not. A report costs a few look-ups; all nodes are counted again only when the stage changes, or who is forgiven.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from svcmgr.errors import BadInput, Busy
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.history import History
from svcmgr.services.mgmtd.config.rollevents import (
    AbortAsked,
    Announce,
    Effect,
    Event,
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
from svcmgr.services.mgmtd.config.rollmachine import TABLE, Do, Ev, Phase
from svcmgr.services.mgmtd.config.rollstate import REASON_MAX, State
from svcmgr.services.mgmtd.config.stages import NO_BOUND, bound, rank
from svcmgr.services.mgmtd.states import ConfigStatus

#: Nodes that a sentence or a view names.
NAMED_MAX = 20

_TAKEN = frozenset({ConfigStatus.NORMAL, ConfigStatus.DIRTY})


@attrs.frozen
class Progress:
    """How far it is: the stage in words, nodes in it, how many of them are settled, and some that are not."""

    phase: Phase
    stage: str
    nodes: int
    settled: int
    waiting: tuple[int, ...]
    failed: tuple[int, ...]
    reason: str


@attrs.define
class _Node:
    facts: Facts
    rank: int
    version: int
    status: ConfigStatus
    silent: bool = False


class Rollout:
    """One roll-out. Feed it all nodes of the type with :class:`NodeReported`, then :meth:`begin`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.next_deadline: float | None = None
        self._nodes: dict[int, _Node] = {}
        self._members: set[int] = set()
        self._unsettled: set[int] = set()
        self._failed: set[int] = set()
        self._forgiven = set(state.forgiven)
        self._begun = False

    # --- what is asked -------------------------------------------------------------------------

    def assigned(self, facts: Facts, version: int) -> int:
        """The version that a node, which now reports ``version``, should have."""
        plan, phase = self.state.plan, self.state.phase
        if phase is Phase.ABORTED and self.state.final is not None:
            return self.state.final
        if phase is Phase.FINISHED or version >= plan.to_version:
            return plan.to_version
        offering = phase in (Phase.RUNNING, Phase.SOAKING)
        return plan.to_version if offering and self._selects(facts, rank(plan.id, facts.id)) else plan.from_version

    def progress(self) -> Progress:
        """How far the stage is."""
        state = self.state
        stage = str(state.plan.stages[state.stage]) if state.stage >= 0 else ""
        settled = len(self._members) - len(self._unsettled)
        waiting, failed = (tuple(sorted(ids)[:NAMED_MAX]) for ids in (self._unsettled, self._failed or state.failed))
        return Progress(state.phase, stage, len(self._members), settled, waiting, failed, state.reason)

    # --- what happens --------------------------------------------------------------------------

    def begin(self, now: float) -> list[Effect]:
        """Start, or go on after a change of primary. ``now`` is monotonic seconds, here and in :meth:`handle`."""
        self._begun = True
        self._count()
        effects: list[Effect] = []
        if self.state.phase is Phase.SOAKING:
            self._evolve(phase=Phase.RUNNING)
        if self.state.phase is Phase.ABORTING:
            return self._do(Do.ROLL_BACK, now)
        if self.state.phase is Phase.RUNNING:
            fresh = self.state.stage < 0
            steps = (Do.NEXT_STAGE, Do.ARM_SETTLE, Do.PERSIST, Do.ANNOUNCE) if fresh else (Do.ARM_SETTLE,)
            effects = [effect for step in steps for effect in self._do(step, now)]
        return [*effects, *self._review(now)]

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in what happened.

        Raises:
            Busy: an operator asked for what the phase does not allow.
            BadInput: a roll-back to a version that is not newer.
        """
        if isinstance(event, NodeReported | NodeFellSilent | NodeLeft):
            self._node_event(event)
            return self._review(now)
        if isinstance(event, Ticked):
            return self._ticked(now)
        if isinstance(event, RolledBack):
            return self._rolled_back(event.version, now)
        kind = {HaltAsked: Ev.HALT, ResumeAsked: Ev.RESUME, AbortAsked: Ev.ABORT}[type(event)]
        if not TABLE.accepts(self.state.phase, kind):
            raise Busy(f"cannot {kind.value} roll-out {self.state.plan.id}: it is {self.state.phase.value}")
        effects = self._step(kind, now, f"{kind.value} by {event.author[:200]}")
        return [*effects, *self._review(now)]

    def _node_event(self, event: NodeReported | NodeFellSilent | NodeLeft) -> None:
        if isinstance(event, NodeLeft):
            self._nodes.pop(event.node, None)
            for group in (self._members, self._unsettled, self._failed, self._forgiven):
                group.discard(event.node)
            return
        if isinstance(event, NodeFellSilent):
            node = self._nodes.get(event.node)
            if node is None:
                return
            node.silent = True
        else:
            node = self._heard(event)
        if self._begun:
            self._sort(node)

    def _heard(self, event: NodeReported) -> _Node:
        facts = event.facts
        node = self._nodes.get(facts.id)
        if node is None:
            node = _Node(facts, rank(self.state.plan.id, facts.id), event.version, event.status)
            self._nodes[facts.id] = node
        node.facts, node.version, node.status, node.silent = facts, event.version, event.status, False
        return node

    def _ticked(self, now: float) -> list[Effect]:
        if self.next_deadline is None or now < self.next_deadline:
            return []
        if self.state.phase is Phase.SOAKING:
            last = self.state.stage == len(self.state.plan.stages) - 1
            effects = self._step(Ev.LAST_SOAKED if last else Ev.SOAKED, now, "")
        else:
            nodes = _named(self._unsettled)
            effects = self._step(Ev.LATE, now, f"nodes not settled in {self.state.plan.pace.settle_s:g} s: {nodes}")
        return [*effects, *self._review(now)]

    def _rolled_back(self, version: int, now: float) -> list[Effect]:
        if version <= self.state.plan.to_version:
            raise BadInput(f"cannot end the abort with version {version}: it is not newer than what was rolled out")
        if not TABLE.accepts(self.state.phase, Ev.ROLLED_BACK):
            raise Busy(f"cannot end the abort of roll-out {self.state.plan.id}: it is {self.state.phase.value}")
        cell = TABLE.step(self.state.phase, Ev.ROLLED_BACK)
        self._evolve(phase=cell.state, final=version)
        return [effect for do in cell.effects for effect in self._do(do, now)]

    # --- how it goes on ------------------------------------------------------------------------

    def _review(self, now: float) -> list[Effect]:
        """What follows from who runs with what."""
        phase = self.state.phase
        if not self._begun or phase not in (Phase.RUNNING, Phase.SOAKING):
            return []
        if len(self._failed) >= self.state.plan.pace.halt_at:
            return self._step(Ev.FAILED, now, f"FAILED on nodes {_named(self._failed)}")
        if phase is Phase.RUNNING and not self._unsettled:
            return self._step(Ev.SETTLED, now, "")
        if phase is Phase.SOAKING and self._unsettled:
            return self._step(Ev.UNSETTLED, now, "")
        return []

    def _step(self, event: Ev, now: float, reason: str) -> list[Effect]:
        cell = TABLE.step(self.state.phase, event)
        self._evolve(phase=cell.state, reason=reason[:REASON_MAX])
        return [effect for do in cell.effects for effect in self._do(do, now)]

    def _do(self, do: Do, now: float) -> list[Effect]:
        plan = self.state.plan
        match do:
            case Do.ARM_SETTLE:
                self.next_deadline = now + plan.pace.settle_s
            case Do.ARM_SOAK:
                self.next_deadline = now + plan.pace.soak_s
            case Do.DISARM:
                self.next_deadline = None
            case Do.NEXT_STAGE:
                self._next_stage()
            case Do.FORGIVE:
                self._forgiven |= self._failed
                self._count()
            case Do.ROLL_BACK:
                return [RollBack(plan.to_version, plan.from_version)]
            case Do.PERSIST:
                self._evolve(failed=tuple(sorted(self._failed)), forgiven=tuple(sorted(self._forgiven)))
                return [Persist(self.state)]
            case Do.ANNOUNCE:
                return [Announce(self._sentence())]
        return []

    def _next_stage(self) -> None:
        index = self.state.stage + 1
        share, low = self.state.plan.stages[index].share, self.state.bound
        ranks = [node.rank for node in self._nodes.values()]
        self._evolve(stage=index, bound=low if share is None else bound(ranks, share, low))
        self._count()

    def _count(self) -> None:
        """Look at every node again, because the stage or what is forgiven has changed."""
        for group in (self._members, self._unsettled, self._failed):
            group.clear()
        for node in self._nodes.values():
            self._sort(node)

    def _sort(self, node: _Node) -> None:
        """Put the node where it belongs now."""
        number, taken = node.facts.id, node.version >= self.state.plan.to_version and node.status in _TAKEN
        if taken:
            self._forgiven.discard(number)
        member = self._selects(node.facts, node.rank)
        failed = member and node.status is ConfigStatus.FAILED and number not in self._forgiven
        settled = failed or number in self._forgiven or (taken and not node.silent)
        for group, belongs in (
            (self._members, member),
            (self._failed, failed),
            (self._unsettled, member and not settled),
        ):
            (group.add if belongs else group.discard)(number)

    def _selects(self, facts: Facts, its_rank: int) -> bool:
        state = self.state
        if state.bound > NO_BOUND and its_rank <= state.bound:
            return True
        return any(stage.selects(facts) for stage in state.plan.stages[: state.stage + 1])

    def _sentence(self) -> str:
        state, plan = self.state, self.state.plan
        stage = f"stage {state.stage + 1} of {len(plan.stages)} ({plan.stages[max(state.stage, 0)]})"
        text = f"roll-out {plan.id} of {plan.node_type} version {plan.to_version} is {state.phase.value} in {stage}"
        return f"{text}: {state.reason}" if state.reason else text

    def _evolve(self, **changes: Any) -> None:
        self.state = attrs.evolve(self.state, **changes)


def rolled_back(history: History, effect: RollBack, author: str, now: float) -> History:
    """``history`` after that effect; itself if it was carried out before. ``now`` is UTC seconds.

    A primary may die between storing the version and telling the engine, so this may be asked for twice.
    """
    newest, old = history.newest, history.need(effect.to)
    if newest.version > effect.of and newest.hash == old.hash:
        return history
    return history.rollback(effect.to, author, now)


def _named(nodes: Iterable[int]) -> str:
    ordered = sorted(nodes)
    more = len(ordered) - NAMED_MAX
    return ", ".join(map(str, ordered[:NAMED_MAX])) + (f" and {more} more" if more > 0 else "")
