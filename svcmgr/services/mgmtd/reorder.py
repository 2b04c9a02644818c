"""What an operator may do to the order of a chain, and what it costs.

Theory of operation. The order of a chain follows from who served first, so it drifts from the wish of the operator. A
*step* towards the preferred order takes the target that stands in the way, marks it OFFLINE and puts it at the tail.
The wanted one moves forward at once, and the sacrificed one syncs again. So a step costs one replica for as long as a
sync takes, and two steps in a row may leave a single server. The guard therefore allows a step only while every target
serves; whoever insists may force one. Since the wanted target must serve already, a step never takes the last server.

Rotating the *last server* gives up on it: the next target is taken for the last server in its place, and acknowledged
writes that only the old one has are lost. Nobody but an operator may decide that.

Steps as in deepseek-ai/3FS: src/mgmtd/service/updateChain.cc; the guard is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from svcmgr.errors import BadInput, Busy
from svcmgr.services.mgmtd.chain import Chain, Targets, count
from svcmgr.services.mgmtd.states import LocalState, PublicState
from svcmgr.services.mgmtd.targets import ChainTarget


def prefer(chain: Chain, order: Sequence[int]) -> Chain:
    """The chain with another preferred order, all targets or some; its version stays.

    Raises:
        BadInput: an empty order, a target twice, one that is not in the chain.
    """
    if not order:
        raise BadInput(f"cannot prefer an empty order of chain {chain.chain_id}: name at least the head you want")
    return attrs.evolve(chain, preferred=tuple(order))


def in_the_way(targets: Targets, preferred: Sequence[int]) -> ChainTarget | None:
    """The target that a step towards the preferred order sacrifices; None when there is nothing to do, or not yet."""
    states = {target.target_id: target.public for target in targets}
    for target, wanted in zip(targets, preferred, strict=False):
        if target.target_id != wanted:
            return target if states.get(wanted) is PublicState.SERVING else None
    return None


def step(chain: Chain, *, force: bool = False) -> Chain:
    """The chain one step nearer to its preferred order; itself when no step is possible or needed.

    Raises:
        Busy: a target does not serve, so the step would leave the chain more than one server short, and ``force`` is
            not given.
    """
    victim = in_the_way(chain.targets, chain.preferred)
    if victim is None:
        return chain
    _guard(chain, victim, force)
    rest = tuple(target for target in chain.targets if target is not victim)
    # Until its node is heard again nothing is known of it: what it last said was said as a server.
    return chain.arranged((*rest, ChainTarget(victim.target_id, PublicState.OFFLINE, LocalState.OFFLINE)))


def _guard(chain: Chain, victim: ChainTarget, force: bool) -> None:
    serving = count(chain.targets, PublicState.SERVING)
    if serving < len(chain.targets) and not force:
        left = serving - (victim.public is PublicState.SERVING)
        raise Busy(
            f"cannot reorder chain {chain.chain_id}: {serving} of {len(chain.targets)} targets serve, and moving "
            f"target {victim.target_id} to the tail would take its redundancy {serving} -> {left}; "
            "wait until all targets serve, or force it",
            chain=chain.chain_id,
            serving=serving,
            left=left,
        )


@attrs.frozen
class Limits:
    """How much may be reordered at once: chains that sync because of it, in all and on one node."""

    chains: int = 8
    per_node: int = 1


def admit(wanting: Iterable[tuple[int, int]], running: Mapping[int, int], limits: Limits) -> tuple[int, ...]:
    """Which chains may take a step now, in the order given.

    ``wanting`` are (chain id, node id of the target that would sync), ``running`` the same of steps whose sync is not
    complete.
    """
    load: dict[int, int] = {}
    for node in running.values():
        load[node] = load.get(node, 0) + 1
    free = limits.chains - len(running)
    admitted: list[int] = []
    for chain, node in wanting:
        if len(admitted) < free and chain not in running and load.get(node, 0) < limits.per_node:
            load[node] = load.get(node, 0) + 1
            admitted.append(chain)
    return tuple(admitted)


def rotate_lastsrv(targets: Targets) -> Targets:
    """Take the second target for the last server, and give up on the first; its acknowledged writes may be lost.

    Changes nothing unless there are two targets and the first is LASTSRV.
    """
    if len(targets) < 2 or targets[0].public is not PublicState.LASTSRV:
        return targets
    first, second, *others = targets
    behind = [target.at(PublicState.OFFLINE) for target in (*others, first)]
    return (second.at(PublicState.LASTSRV), *behind)
