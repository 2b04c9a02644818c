"""Operations on chains and their targets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import infos, members, reorder, wire
from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.chains import judge
from svcmgr.services.mgmtd.changes import Change, Kind
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.errors import ChainNotFound
from svcmgr.services.mgmtd.explain import explain
from svcmgr.services.mgmtd.ops.base import Decision, Given, Mutation, Query
from svcmgr.services.mgmtd.targets import TargetInfo


def find(cluster: Cluster, chain_id: int) -> Chain:
    """The chain with this id. Raises ChainNotFound."""
    chain = cluster.chains.get(chain_id)
    if chain is None:
        raise ChainNotFound(f"cannot find chain {str(chain_id)[:40]}: there is none; set it first")
    return chain


def changed(old: Chain | None, new: Chain, why: Iterable[str] = ()) -> tuple[Change, ...]:
    """The change of a chain, if clients or the store would see one."""
    if old is not None and (old.version, old.preferred) == (new.version, new.preferred):
        return ()
    return (Change(Kind.CHAIN, new.chain_id, old, new, told(old, new, why)),)


def told(old: Chain | None, new: Chain, why: Iterable[str] = ()) -> str:
    """What the event log says of it."""
    arranged = " ".join(f"{target.target_id}:{target.public.name}" for target in new.targets)
    if old is None:
        return f"made, version {new.version}: {arranged}"
    if old.version == new.version:
        return f"preferred order is now {', '.join(map(str, new.preferred)) or 'none'}"
    reasons = "; ".join(why)
    return f"version {old.version} -> {new.version}: {arranged}{' because ' + reasons if reasons else ''}"


def info_of(cluster: Cluster, chain: Chain) -> wire.ChainInfo:
    """With the tables that name it."""
    return infos.chain_info(chain, cluster.targets, cluster.tables_of(chain.chain_id))


class SetChains(Mutation):
    verb = "set-chains"
    request = wire.SetChainsRequest

    def decide(self, given: Given, request: wire.SetChainsRequest) -> Decision:
        cluster = given.cluster
        settings = [members.ChainSetting(one.chain, one.targets, one.keep_order) for one in request.chains]
        made = members.new_chains(settings, cluster.chains, cluster.chain_of)
        changes: list[Change] = []
        for chain in made:
            changes += changed(None, chain)
            changes.append(Change(Kind.BIRTH, chain.chain_id, None, given.now.monotonic))
        fresh = {chain.chain_id: chain for chain in made}
        told = [fresh.get(one.chain) or cluster.chains[one.chain] for one in request.chains]
        return Decision(tuple(changes), wire.ChainsReply([info_of(cluster, chain) for chain in told]))


class UpdateChain(Mutation):
    verb = "update-chain"
    request = wire.UpdateChainRequest

    def check(self, request: wire.UpdateChainRequest) -> None:
        if request.mode.upper() not in ("ADD", "REMOVE"):
            raise BadInput(f"cannot update a chain by {request.mode[:40]!r}: give ADD or REMOVE")

    def decide(self, given: Given, request: wire.UpdateChainRequest) -> Decision:
        cluster = given.cluster
        chain = find(cluster, request.chain)
        if request.mode.upper() == "ADD":
            new = members.add_target(chain, request.target, cluster.chain_of)
            return Decision(changed(chain, new), info_of(cluster, new))
        new = members.remove_target(chain, request.target)
        place = cluster.places.get(request.target)
        gone = (Change(Kind.PLACE, request.target, place, None),) if place else ()
        return Decision((*changed(chain, new), *gone), info_of(cluster, new))


class _Rearrange(Mutation):
    """One chain in another order, by an operator."""

    def arrange(self, chain: Chain, request: Any) -> Chain:
        """The chain as the operator wants it."""
        raise NotImplementedError

    def decide(self, given: Given, request: Any) -> Decision:
        chain = find(given.cluster, request.chain)
        new = self.arrange(given.cluster.live(chain), request)
        return Decision(changed(chain, new), info_of(given.cluster, new))


class RotateLastsrv(_Rearrange):
    verb = "rotate-lastsrv"
    request = wire.RotateRequest

    def arrange(self, chain: Chain, request: wire.RotateRequest) -> Chain:
        return chain.arranged(reorder.rotate_lastsrv(chain.targets))


class RotatePreferred(_Rearrange):
    verb = "rotate-preferred"
    request = wire.RotateRequest

    def arrange(self, chain: Chain, request: wire.RotateRequest) -> Chain:
        return reorder.step(chain, force=request.force)


class SetPreferredOrder(_Rearrange):
    verb = "set-preferred-order"
    request = wire.PreferRequest

    def arrange(self, chain: Chain, request: wire.PreferRequest) -> Chain:
        return reorder.prefer(chain, request.order)


class Chains(Query):
    verb = "chains"
    request = wire.ChainsRequest

    def answer(self, given: Given, request: wire.ChainsRequest) -> Any:
        cluster = given.cluster
        named = request.ids or (self._of_table(cluster, request) if request.table else sorted(cluster.chains))
        in_tables: dict[int, list[int]] = {}
        for id, versions in sorted(cluster.tables.items()):
            for chain in versions[max(versions)].chains:
                in_tables.setdefault(chain, []).append(id)
        return wire.ChainsReply(
            [infos.chain_info(find(cluster, id), cluster.targets, in_tables.get(id, ())) for id in named]
        )

    @staticmethod
    def _of_table(cluster: Cluster, request: wire.ChainsRequest) -> tuple[int, ...]:
        versions = cluster.tables.get(request.table, {})
        table = versions.get(request.version or max(versions, default=0))
        if table is None:
            raise BadInput(f"cannot list version {request.version or 'newest'} of chain table {request.table}: none")
        return table.chains


class Targets(Query):
    verb = "targets"
    request = wire.TargetsRequest

    def answer(self, given: Given, request: wire.TargetsRequest) -> Any:
        cluster = given.cluster
        found: Iterable[TargetInfo] = cluster.targets.values()
        if request.chain:
            found = [cluster.targets[id] for id in find(cluster, request.chain).target_ids]
        if request.node:
            found = [info for info in found if info.node_id == request.node]
        if not request.chain:
            found = sorted(found, key=lambda info: info.target_id)
        return wire.TargetsReply([infos.target_info(info, cluster.chains[info.chain_id]) for info in found])


class Orphans(Query):
    verb = "orphans"
    request = wire.ClusterRequest

    def answer(self, given: Given, request: wire.ClusterRequest) -> Any:
        told = [
            infos.orphan_info(report, node_id)
            for node_id, reports in sorted(given.cluster.orphans.items())
            for report in reports
        ]
        return wire.TargetsReply(told)


class ExplainChain(Query):
    verb = "explain-chain"
    request = wire.ChainRequest

    def answer(self, given: Given, request: wire.ChainRequest) -> Any:
        cluster = given.cluster
        chain = find(cluster, request.chain)
        live = cluster.live(chain).targets
        lines = list(explain(live, judge(live)))
        if (born := cluster.births.get(chain.chain_id)) is not None:
            left = max(0.0, born + given.settings.new_chain_bootstrap_interval - given.now.monotonic)
            lines.append(
                f"the chain is not judged before all its targets were heard of, for {left:.0f} s more at the most"
            )
        if (victim := reorder.in_the_way(live, chain.preferred)) is not None:
            lines.append(f"rotate-preferred would move target {victim.target_id} to the tail")
        return wire.Explanation(info_of(cluster, attrs.evolve(chain, targets=live)), lines)
