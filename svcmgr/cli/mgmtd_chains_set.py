"""``svcmgr mgmtd chains set``, ``upload``, ``add-target``, ``remove-target``: which targets a chain has."""

from __future__ import annotations

import click

from svcmgr.cli.mgmtd_args import chain_argument, changes, target_argument, targets_argument
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_rows import chain_words
from svcmgr.cli.options import F
from svcmgr.cli.render import plural
from svcmgr.services.mgmtd.wire import ChainInfo, ChainSettingInfo, ChainsReply, SetChainsRequest, UpdateChainRequest

#: So many chains are shown one by one; more are counted.
_SHOWN = 20


def _keep_order_option(function: F) -> F:
    return click.option("--keep-order", is_flag=True, help="Make this order of targets the preferred one as well.")(
        function
    )


@changes("set", "svcmgr mgmtd chains set 900100001 11 21 31 --keep-order")
@chain_argument
@targets_argument("targets")
@_keep_order_option
def set_chain(cluster: Cluster, chain: int, targets: tuple[int, ...], keep_order: bool) -> int:
    """Make one chain of these targets, head first.

    A chain that exists with the same targets is left as it is; with other targets it is refused.
    """
    return _set(cluster, [ChainSettingInfo(chain, list(targets), keep_order)])


@changes("upload", "svcmgr mgmtd chains upload chains.csv --dry-run", "svcmgr mgmtd chains upload - < chains.csv")
@click.argument("path", metavar="FILE")
@_keep_order_option
def upload(cluster: Cluster, path: str, keep_order: bool) -> int:
    """Make the chains of a CSV file, all or none.

    The first line is ChainId,TargetId,TargetId,... and each other one is a chain, head first. FILE may be -
    for standard input.
    """
    from svcmgr.cli.mgmtd_csv import read_chains
    from svcmgr.cli.mgmtd_input import CSV_MAX, name_of, read_text

    return _set(cluster, read_chains(read_text(path, CSV_MAX), name_of(path), keep_order))


def _set(cluster: Cluster, settings: list[ChainSettingInfo]) -> int:
    reply = cluster.ask("set-chains", SetChainsRequest(settings, dry_run=cluster.dry_run), ChainsReply)
    few = 0 < len(reply.chains) <= _SHOWN
    lines = list(map(chain_words, reply.chains)) if few else [f"{plural(len(settings), 'chain')}: as wanted"]
    return cluster.changed(*lines, chains=reply.chains)


@changes("add-target", "svcmgr mgmtd chains add-target 900100001 41")
@chain_argument
@target_argument
def add_target(cluster: Cluster, chain: int, target: int) -> int:
    """Add a target to a chain, at its tail.

    It is OFFLINE until its node reports it, and is filled before it serves.
    """
    return _update(cluster, chain, target, "ADD")


@changes("remove-target", "svcmgr mgmtd chains remove-target 900100001 11")
@chain_argument
@target_argument
def remove_target(cluster: Cluster, chain: int, target: int) -> int:
    """Remove a target from a chain; it must be OFFLINE there."""
    return _update(cluster, chain, target, "REMOVE")


def _update(cluster: Cluster, chain: int, target: int, mode: str) -> int:
    request = UpdateChainRequest(chain, target, mode, dry_run=cluster.dry_run)
    found = cluster.ask("update-chain", request, ChainInfo)
    return cluster.changed(chain_words(found), chain=found)
