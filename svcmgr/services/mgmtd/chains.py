"""Which targets of a chain serve: one pure function from what nodes report to what clients obey.

Theory of operation. Every acknowledged write is on every SERVING target. So a chain may be served by whoever served or
finished syncing, and by nobody else. When the last server dies, it becomes LASTSRV: the chain waits for exactly this
one, because any other may miss a write. Of several servers that die together all have all writes, so one is enough,
the first; the others have to sync again.

:func:`judge` visits the targets of each old public state in turn (SERVING, LASTSRV, SYNCING, WAITING, OFFLINE), in
chain order, and appends each to the list of its new state. Those lists, in the same order, are the new chain. Hence
the head changes only when it leaves, and a new SYNCING target stands right after the last SERVING one, which is the
one that fills it. One target syncs at a time. The function is total and its result a fixed point: with the same local
states it changes nothing more, except after an offline shutdown, whose several LASTSRV take a second run.

A chain that never served is CREATED and holds no data, so there is nothing to wait for and nothing to be the last
server of. It serves as soon as all of its targets were heard alive, or with those that are when its time to gather is
over (:func:`open_chain`).

The rules follow deepseek-ai/3FS: src/mgmtd/service/updateChain.cc; CREATED, and taking a state that should not occur
for OFFLINE instead of losing the target, are ours.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping

from svcmgr.services.mgmtd.chain import Targets, never_served
from svcmgr.services.mgmtd.states import ALIVE, LocalState, PublicState
from svcmgr.services.mgmtd.targets import ChainTarget

_P = PublicState


class Rule(enum.Enum):
    """Why a target is in its new state: that state, and the reason in words."""

    def __init__(self, state: PublicState, why: str) -> None:
        self.state = state
        self.why = why

    SERVES = _P.SERVING, "it is alive and goes on serving"
    LAST_SERVER = _P.LASTSRV, "it died while nobody else could serve, so the chain waits for it to return"
    DIED_SERVING = _P.OFFLINE, "it died while serving, after another server of its chain; it has to sync"
    OUTLIVED = _P.OFFLINE, "it was a server and is dead, while another target serves; it has to sync when it returns"
    RETURNED = _P.SERVING, "it was the last server and is alive again, so the chain is available"
    DISPLACED = _P.OFFLINE, "it was a last server, but another target serves now; it has to sync"
    AWAITED = _P.LASTSRV, "it was the last server and is dead; the chain is unavailable until it returns"
    SYNCED = _P.SERVING, "its sync is complete"
    SYNCS = _P.SYNCING, "its sync goes on; it serves when its node reports UPTODATE"
    LOST_SOURCE = _P.WAITING, "nobody is left to sync from; it waits for a server"
    DIED_SYNCING = _P.OFFLINE, "it died while syncing; it begins again when it returns"
    SYNC_BEGINS = _P.SYNCING, "it is alive, a target serves and no other one syncs, so it begins to sync"
    WAITS_SERVER = _P.WAITING, "it is alive, but nobody serves that it could sync from"
    WAITS_TURN = _P.WAITING, "it is alive, and waits until the target that syncs is done"
    WAITS_RELOAD = _P.WAITING, "its node says UPTODATE, but it may miss writes; it syncs once its node reports ONLINE"
    DEAD = _P.OFFLINE, "it is dead or was not heard of; it syncs when it returns"
    GATHERS = _P.CREATED, "its chain never served, and waits until all of its targets were heard alive"
    OPENS = _P.SERVING, "its chain begins to serve; it is alive and there is no data yet to miss"


#: Public states in the order in which they are visited, and in which they stand in a chain.
ORDER = (_P.SERVING, _P.LASTSRV, _P.SYNCING, _P.WAITING, _P.OFFLINE)

Ruled = tuple[ChainTarget, Rule]
#: Public and local states in chain order: all that the rules look at.
Shape = tuple[tuple[PublicState, LocalState], ...]
#: The places of targets in the old chain, in the new order, with their rules.
Plan = tuple[tuple[int, Rule], ...]
New = Mapping[PublicState, list[tuple[int, Rule]]]

#: Shapes whose judgement is remembered. A cluster has few: chains of three that follow the rules have 324.
SHAPES = 4096


def judge(targets: Targets) -> Targets:
    """The targets in their new order and public states; ``targets`` itself when nothing changes."""
    shape = _shape(targets)
    plan, changes = _judged(shape)
    return tuple(targets[place].at(rule.state) for place, rule in plan) if changes else targets


def rulings(targets: Targets) -> tuple[Ruled, ...]:
    """Each target, as it was, with the rule that applies to it; in the new order."""
    return tuple((targets[place], rule) for place, rule in _judged(_shape(targets))[0])


def open_chain(targets: Targets) -> Targets:
    """A chain that has gathered for long enough: who is alive serves, the others are OFFLINE.

    Changes nothing when nobody is alive, or when the chain has served before.
    """
    if not never_served(targets) or not any(target.local in ALIVE for target in targets):
        return targets
    opened = [target.at(_P.SERVING) for target in targets if target.local in ALIVE]
    behind = [target.at(_P.OFFLINE) for target in targets if target.local not in ALIVE]
    return (*opened, *behind)


def shut_down(targets: Targets) -> Targets:
    """The chain after an orderly end of the whole cluster: every server may be the first to return.

    SERVING becomes LASTSRV, SYNCING and WAITING become OFFLINE, the order stays. Then the first LASTSRV that is heard
    alive serves; all others have the same data, so none has to be waited for.
    """
    after = {_P.SERVING: _P.LASTSRV, _P.SYNCING: _P.OFFLINE, _P.WAITING: _P.OFFLINE}
    return tuple(target.at(after.get(target.public, target.public)) for target in targets)


def _shape(targets: Targets) -> Shape:
    return tuple([(target.public, target.local) for target in targets])


@functools.lru_cache(SHAPES)
def _judged(shape: Shape) -> tuple[Plan, bool]:
    """The plan for chains of this shape, and whether it changes anything. Remembered, since most chains look alike."""
    plan = _gather(shape) if _never_served(shape) else _plan(shape)
    same = all(place == old and rule.state is shape[old][0] for place, (old, rule) in enumerate(plan))
    return plan, not same


def _never_served(shape: Shape) -> bool:
    return all(public is _P.CREATED for public, _ in shape)


def _gather(shape: Shape) -> Plan:
    rule = Rule.OPENS if all(local in ALIVE for _, local in shape) else Rule.GATHERS
    return tuple((place, rule) for place in range(len(shape)))


def _plan(shape: Shape) -> Plan:
    new: dict[PublicState, list[tuple[int, Rule]]] = {state: [] for state in ORDER}
    for visited in ORDER:
        for place, (public, local) in enumerate(shape):
            if _visited_as(public) is visited:
                rule = _RULES[visited](local, new)
                new[rule.state].append((place, rule))
    if new[_P.SERVING]:
        new[_P.OFFLINE] += [(place, Rule.OUTLIVED) for place, _ in new[_P.LASTSRV]]
        new[_P.LASTSRV].clear()
    return tuple(ruled for state in ORDER for ruled in new[state])


def _visited_as(public: PublicState) -> PublicState:
    """CREATED beside others and INVALID come from a damaged store; OFFLINE claims the least."""
    return public if public in _RULES else _P.OFFLINE


def _was_serving(local: LocalState, new: New) -> Rule:
    if local in ALIVE:
        return Rule.SERVES
    return Rule.DIED_SERVING if new[_P.LASTSRV] else Rule.LAST_SERVER


def _was_last(local: LocalState, new: New) -> Rule:
    if new[_P.SERVING]:
        return Rule.DISPLACED
    return Rule.RETURNED if local in ALIVE else Rule.AWAITED


def _was_syncing(local: LocalState, new: New) -> Rule:
    if local not in ALIVE:
        return Rule.DIED_SYNCING
    if local is LocalState.UPTODATE:
        return Rule.SYNCED
    return Rule.SYNCS if new[_P.SERVING] else Rule.LOST_SOURCE


def _was_behind(local: LocalState, new: New) -> Rule:
    if local not in ALIVE:
        return Rule.DEAD
    if local is LocalState.UPTODATE:
        return Rule.WAITS_RELOAD
    if not new[_P.SERVING]:
        return Rule.WAITS_SERVER
    return Rule.WAITS_TURN if new[_P.SYNCING] else Rule.SYNC_BEGINS


_RULES: Mapping[PublicState, Callable[[LocalState, New], Rule]] = {
    _P.SERVING: _was_serving,
    _P.LASTSRV: _was_last,
    _P.SYNCING: _was_syncing,
    _P.WAITING: _was_behind,
    _P.OFFLINE: _was_behind,
}
