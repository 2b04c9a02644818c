"""``svcmgr mgmtd targets``: the targets of chains, and those that no chain has."""

from __future__ import annotations

import click

from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import U32_ID, lists
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_rows import ORPHAN_COLUMNS, TARGET_COLUMNS, orphan_cells, target_cells
from svcmgr.cli.render import plural
from svcmgr.services.mgmtd.wire import ClusterRequest, TargetsReply, TargetsRequest

TABLE = {"list": ("mgmtd_targets", "list_targets"), "orphans": ("mgmtd_targets", "orphans")}


@subgroup("targets", TABLE, "svcmgr mgmtd targets list --node 10001", "svcmgr mgmtd targets orphans")
def targets() -> None:
    """List the targets that nodes have."""


@lists("list", "svcmgr mgmtd targets list --chain 900100001", "svcmgr mgmtd targets list --node 10001 --json")
@click.option("--chain", type=U32_ID, metavar="CHAIN", help="Of this chain.")
@click.option("--node", type=U32_ID, metavar="NODE", help="On this node.")
def list_targets(cluster: Cluster, chain: int | None, node: int | None) -> int:
    """List the targets of chains.

    PUBLIC is what mgmtd makes of a target, LOCAL what its node says of it.
    """
    found = cluster.ask("targets", TargetsRequest(chain or 0, node or 0), TargetsReply).targets
    return cluster.listed(TARGET_COLUMNS, list(map(target_cells, found)), [plural(len(found), "target")], targets=found)


@lists("orphans", "svcmgr mgmtd targets orphans")
def orphans(cluster: Cluster) -> int:
    """List targets that nodes report and that are in no chain."""
    found = cluster.ask("orphans", ClusterRequest(), TargetsReply).targets
    return cluster.listed(ORPHAN_COLUMNS, list(map(orphan_cells, found)), [plural(len(found), "orphan")], targets=found)
