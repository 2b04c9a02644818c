"""``svcmgr mgmtd chains``: the group, and what chains there are."""

from __future__ import annotations

import click

from svcmgr.cli import render
from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import U32_ID, asks, chain_argument, lists
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_rows import CHAIN_COLUMNS, chain_cells, numbers, target_words
from svcmgr.cli.options import F
from svcmgr.errors import EXIT_OK, BadInput
from svcmgr.services.mgmtd.errors import ChainNotFound
from svcmgr.services.mgmtd.wire import ChainInfo, ChainRequest, ChainsReply, ChainsRequest, Explanation

TABLE = {
    "list": ("mgmtd_chains", "list_chains"),
    "show": ("mgmtd_chains", "show"),
    "explain": ("mgmtd_chains", "explain"),
    "set": ("mgmtd_chains_set", "set_chain"),
    "upload": ("mgmtd_chains_set", "upload"),
    "dump": ("mgmtd_chains", "dump"),
    "add-target": ("mgmtd_chains_set", "add_target"),
    "remove-target": ("mgmtd_chains_set", "remove_target"),
    "prefer": ("mgmtd_chains_order", "prefer"),
    "rotate-preferred": ("mgmtd_chains_order", "rotate_preferred"),
    "rotate-lastsrv": ("mgmtd_chains_order", "rotate_lastsrv"),
}


@subgroup(
    "chains",
    TABLE,
    "svcmgr mgmtd chains list --table 1",
    "svcmgr mgmtd chains upload chains.csv",
    "svcmgr mgmtd chains explain 900100001",
)
def chains() -> None:
    """List, make, explain and reorder chains of targets."""


def table_options(function: F) -> F:
    """``--table TABLE`` and ``--table-version VERSION``: only the chains of one table; 0 where they are left out."""
    version = click.option(
        "--table-version", type=U32_ID, callback=_or_zero, metavar="VERSION", help="An older version of the table."
    )
    table = click.option("--table", type=U32_ID, callback=_or_zero, metavar="TABLE", help="Of this chain table.")
    return table(version(function))


def _or_zero(_ctx: click.Context, _param: click.Parameter, value: int | None) -> int:
    return value or 0


def chains_of(cluster: Cluster, ids: tuple[int, ...], table: int, version: int) -> list[ChainInfo]:
    """The chains with these ids, or of this table; all, when there are neither. Raises BadInput."""
    if version and not table:
        raise BadInput("cannot use --table-version without --table: name the table as well")
    return cluster.ask("chains", ChainsRequest(list(ids), table, version), ChainsReply).chains


@lists("list", "svcmgr mgmtd chains list", "svcmgr mgmtd chains list 900100001 900100002 --json")
@click.argument("ids", nargs=-1, type=U32_ID, metavar="[CHAIN]...")
@table_options
def list_chains(cluster: Cluster, ids: tuple[int, ...], table: int, table_version: int) -> int:
    """List chains, their status and their targets.

    All of them, those named, or those of a table. A target is shown with what it is to clients and what its
    node says of it.
    """
    found = chains_of(cluster, ids, table, table_version)
    counts: dict[str, int] = {}
    for chain in found:
        word = chain.status.partition("(")[0] + ("(some)" if "(" in chain.status else "")
        counts[word] = counts.get(word, 0) + 1
    summary = ", ".join([render.plural(len(found), "chain"), *(f"{count} {word}" for word, count in counts.items())])
    return cluster.listed(CHAIN_COLUMNS, [chain_cells(chain) for chain in found], [summary], chains=found)


@asks("show", "svcmgr mgmtd chains show 900100001", "svcmgr mgmtd chains show 900100001 --json")
@chain_argument
def show(cluster: Cluster, chain: int) -> int:
    """Show everything about one chain."""
    found = next((one for one in chains_of(cluster, (chain,), 0, 0) if one.chain == chain), None)
    if found is None:
        raise ChainNotFound(f"cannot find chain {chain}; see `svcmgr mgmtd chains list`")
    return cluster.finish(_block(found), chain=found)


def _block(chain: ChainInfo) -> list[str]:
    lines = [f"chain {chain.chain}", f"  version: {chain.version}", f"  status: {chain.status}", "  targets:"]
    for target in chain.targets:
        node = "of no known node" if target.node is None else f"on node {target.node}"
        lines.append(f"    {target_words(target)} {node}")
    lines.append(f"  preferred order: {numbers(chain.preferred) or '-'}")
    return [*lines, f"  tables: {numbers(chain.tables) or '-'}"]


@asks("explain", "svcmgr mgmtd chains explain 900100001")
@chain_argument
def explain(cluster: Cluster, chain: int) -> int:
    """Say why each target of a chain is what it is.

    And what would change it.
    """
    found = cluster.ask("explain-chain", ChainRequest(chain), Explanation)
    heading = f"chain {found.chain.chain}: version {found.chain.version}, {found.chain.status}"
    return cluster.finish([heading, *(f"  {line}" for line in found.lines)], explanation=found)


@asks("dump", "svcmgr mgmtd chains dump > chains.csv", "svcmgr mgmtd chains dump --replicas 3 > chains3.csv")
@table_options
@click.option("--replicas", type=U32_ID, metavar="N", help="Only chains of so many targets.")
def dump(cluster: Cluster, table: int, table_version: int, replicas: int | None) -> int:
    """Print chains as CSV, as `upload` reads them.

    The header is ChainId,TargetId,... with a column for each target. Chains shorter than others end in empty
    cells; with --replicas all are of one length.
    """
    found = chains_of(cluster, (), table, table_version)
    chosen = [chain for chain in found if replicas is None or len(chain.targets) == replicas]
    if cluster.as_json:
        return cluster.finish([], chains=chosen)
    from svcmgr.cli.mgmtd_csv import write_chains

    render.write(write_chains(chosen))
    return EXIT_OK
