"""``svcmgr mgmtd chains prefer``, ``rotate-preferred``, ``rotate-lastsrv``: which target stands where."""

from __future__ import annotations

import click

from svcmgr.cli.mgmtd_args import chain_argument, changes, targets_argument
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_rows import chain_words
from svcmgr.cli.snapshot_args import confirmed, yes_option
from svcmgr.errors import EXIT_FAILED
from svcmgr.services.mgmtd.wire import ChainInfo, ChainsReply, ChainsRequest, PreferRequest, RotateRequest


@changes("prefer", "svcmgr mgmtd chains prefer 900100001 11 21 31")
@chain_argument
@targets_argument("order")
def prefer(cluster: Cluster, chain: int, order: tuple[int, ...]) -> int:
    """Say in which order targets should stand.

    Nothing moves by it; `rotate-preferred` does one step. Not all targets need be named.
    """
    request = PreferRequest(chain, list(order), dry_run=cluster.dry_run)
    found = cluster.ask("set-preferred-order", request, ChainInfo)
    return cluster.changed(chain_words(found), chain=found)


@changes("rotate-preferred", "svcmgr mgmtd chains rotate-preferred 900100001 --dry-run")
@chain_argument
@click.option("--force", is_flag=True, help="Also while not all its targets serve.")
def rotate_preferred(cluster: Cluster, chain: int, force: bool) -> int:
    """Do one step towards the preferred order of a chain.

    The target that moves is filled anew at its place, so the chain has one serving target fewer meanwhile.
    """
    request = RotateRequest(chain, force, dry_run=cluster.dry_run)
    found = cluster.ask("rotate-preferred", request, ChainInfo)
    return cluster.changed(chain_words(found), chain=found)


@changes("rotate-lastsrv", "svcmgr mgmtd chains rotate-lastsrv 900100003 --dry-run")
@chain_argument
@yes_option
def rotate_lastsrv(cluster: Cluster, chain: int, yes: bool) -> int:
    """Give up the last target that served.

    The chain goes on with the next. Writes that only the last one has are LOST. It shows what the chain would
    be and asks, unless --yes or --dry-run is given. A chain that does not stand still for its last server
    stays as it is.
    """
    if not (yes or cluster.dry_run or _agreed(cluster, chain)):
        return EXIT_FAILED
    request = RotateRequest(chain, dry_run=cluster.dry_run)
    found = cluster.ask("rotate-lastsrv", request, ChainInfo)
    return cluster.changed(chain_words(found), chain=found)


def _agreed(cluster: Cluster, chain: int) -> bool:
    before = cluster.ask("chains", ChainsRequest([chain]), ChainsReply).chains
    after = cluster.ask("rotate-lastsrv", RotateRequest(chain, dry_run=True), ChainInfo)
    if after.version in [one.version for one in before]:
        return True  # there is nobody to give up
    lines = [
        f"This gives up the last target of chain {chain} that served; writes that no other target has are lost.",
        f"Then: {chain_words(after)}",
    ]
    refusal = f"cannot give up the last target of chain {chain} without a word: add --yes; writes may be lost"
    return confirmed(False, lines, refusal)
