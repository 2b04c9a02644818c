"""Making chains, and which targets belong to them.

Theory of operation. A target's place in a chain never changes by itself. New chains are taken all or none, and each
target is in one chain only: ``chain_of`` says in which. A chain begins CREATED. A target that joins later has no data,
so it comes in as OFFLINE at the tail and syncs from there; one may leave only when nobody relies on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.chain import Chain, never_served
from svcmgr.services.mgmtd.errors import InvalidChainTable, TargetExisted, TargetNotFound
from svcmgr.services.mgmtd.states import PublicState
from svcmgr.services.mgmtd.targets import ChainTarget


@attrs.frozen
class ChainSetting:
    """A chain that is asked for; ``keep_order`` makes this order its preferred one."""

    chain_id: int
    target_ids: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    keep_order: bool = False


def new_chains(
    settings: Iterable[ChainSetting], chains: Mapping[int, Chain], chain_of: Mapping[int, int]
) -> tuple[Chain, ...]:
    """The chains to make; those that are there already with the same targets need nothing.

    Raises:
        InvalidChainTable: no chain, an id twice or out of range, a chain that is there with other targets, a target
            that is in another chain or twice in the request.
    """
    asked = tuple(settings)
    if not asked:
        raise InvalidChainTable("cannot set no chains: give at least one")
    seen: set[int] = set()
    taken = dict(chain_of)
    made = []
    for setting in asked:
        if setting.chain_id in seen:
            raise InvalidChainTable(f"cannot set chain {setting.chain_id} twice in one request: give it once")
        seen.add(setting.chain_id)
        if setting.chain_id in chains:
            _same_targets(setting, chains[setting.chain_id])
        else:
            made.append(_made(setting, taken))
    return tuple(made)


def _same_targets(setting: ChainSetting, chain: Chain) -> None:
    if sorted(setting.target_ids) != sorted(chain.target_ids):
        raise InvalidChainTable(
            f"cannot set chain {chain.chain_id} to targets {_listed(setting.target_ids)}: it has "
            f"{_listed(chain.target_ids)}; add or remove one target at a time"
        )


def _made(setting: ChainSetting, taken: dict[int, int]) -> Chain:
    for target in setting.target_ids:
        if target in taken:
            raise InvalidChainTable(
                f"cannot put target {target} into chain {setting.chain_id}: it is in chain {taken[target]}"
            )
        taken[target] = setting.chain_id
    try:
        targets = tuple(ChainTarget(target, PublicState.CREATED) for target in setting.target_ids)
        return Chain(setting.chain_id, 1, targets, setting.target_ids if setting.keep_order else ())
    except BadInput as error:
        raise InvalidChainTable(error.message, **error.details) from error


def add_target(chain: Chain, target_id: int, chain_of: Mapping[int, int]) -> Chain:
    """The chain with one more target at its tail; where every target was preferred, the new one is too, as last.

    Raises:
        TargetExisted: it is in a chain already.
        BadInput: an id out of range, or the chain is at its longest.
    """
    if target_id in chain_of or target_id in chain.target_ids:
        home = chain_of.get(target_id, chain.chain_id)
        raise TargetExisted(
            f"cannot add target {target_id} to chain {chain.chain_id}: it is in chain {home}", chain=home
        )
    state = PublicState.CREATED if never_served(chain.targets) else PublicState.OFFLINE
    grown = chain.arranged((*chain.targets, ChainTarget(target_id, state)))
    if len(chain.preferred) < len(chain.targets):
        return grown
    return attrs.evolve(grown, preferred=(*chain.preferred, target_id))


def remove_target(chain: Chain, target_id: int) -> Chain:
    """The chain without this target, which is forgotten in the preferred order too.

    Raises:
        TargetNotFound: it is not in this chain.
        BadInput: it is neither OFFLINE nor of a chain that never served; or it is the only one.
    """
    found = next((target for target in chain.targets if target.target_id == target_id), None)
    where = f"target {target_id} from chain {chain.chain_id}"
    if found is None:
        raise TargetNotFound(f"cannot remove {where}: it is not in this chain, which has {_listed(chain.target_ids)}")
    if found.public not in (PublicState.OFFLINE, PublicState.CREATED):
        raise BadInput(f"cannot remove {where}: it is {found.public.name}; take it offline first")
    rest = tuple(target for target in chain.targets if target is not found)
    if not rest:
        raise BadInput(f"cannot remove {where}: it is the only one; add another first")
    kept = tuple(target for target in chain.preferred if target != target_id)
    return attrs.evolve(chain, version=chain.version + 1, targets=rest, preferred=kept)


def _listed(targets: Iterable[int]) -> str:
    return ", ".join(str(target) for target in targets) or "none"
