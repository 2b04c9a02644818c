"""``svcmgr mgmtd tables``: chain tables, by which files name chains."""

from __future__ import annotations

import click

from svcmgr.cli import render
from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import U32_ID, asks, changes, lists, table_argument
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_rows import TABLE_COLUMNS, table_cells
from svcmgr.cli.options import F
from svcmgr.cli.render import plural
from svcmgr.errors import EXIT_OK, BadInput
from svcmgr.services.mgmtd.wire import SetTableRequest, TableInfo, TablesReply, TablesRequest

TABLE = {
    "list": ("mgmtd_tables", "list_tables"),
    "set": ("mgmtd_tables", "set_table"),
    "upload": ("mgmtd_tables", "upload"),
    "dump": ("mgmtd_tables", "dump"),
}


@subgroup("tables", TABLE, "svcmgr mgmtd tables list", "svcmgr mgmtd tables upload 1 table1.csv --desc 'stage 1'")
def tables() -> None:
    """List and make chain tables."""


def _desc_option(function: F) -> F:
    return click.option("--desc", default="", metavar="TEXT", help="What it is, for people; else as it was.")(function)


@lists("list", "svcmgr mgmtd tables list", "svcmgr mgmtd tables list 1 --all-versions --json")
@click.argument("table", default=None, required=False, type=U32_ID, metavar="[TABLE]")
@click.option("--all-versions", is_flag=True, help="Old versions too, which files may still name.")
def list_tables(cluster: Cluster, table: int | None, all_versions: bool) -> int:
    """List chain tables.

    The newest version of each, or of TABLE.
    """
    request = TablesRequest(table or 0, -1 if all_versions else 0)
    found = cluster.ask("chain-tables", request, TablesReply).tables
    return cluster.listed(TABLE_COLUMNS, list(map(table_cells, found)), [plural(len(found), "table")], tables=found)


@changes("set", "svcmgr mgmtd tables set 1 900100001 900100002 --desc 'stage 1'")
@table_argument
@click.argument("chains", nargs=-1, required=True, type=U32_ID, metavar="CHAIN...")
@_desc_option
def set_table(cluster: Cluster, table: int, chains: tuple[int, ...], desc: str) -> int:
    """Make a version of a chain table of these chains, in this order.

    All must have as many targets. A table that is the same gets no new version.
    """
    return _set(cluster, table, list(chains), desc)


@changes("upload", "svcmgr mgmtd tables upload 1 table1.csv --desc 'stage 1'")
@table_argument
@click.argument("path", metavar="FILE")
@_desc_option
def upload(cluster: Cluster, table: int, path: str, desc: str) -> int:
    """Make a version of a chain table from a CSV file.

    The first line is ChainId, and each other one is the id of a chain. FILE may be - for standard input.
    """
    from svcmgr.cli.mgmtd_csv import read_table
    from svcmgr.cli.mgmtd_input import CSV_MAX, name_of, read_text

    return _set(cluster, table, read_table(read_text(path, CSV_MAX), name_of(path)), desc)


def _set(cluster: Cluster, table: int, chains: list[int], desc: str) -> int:
    request = SetTableRequest(table, chains, desc, dry_run=cluster.dry_run)
    found = cluster.ask("set-chain-table", request, TableInfo)
    words = f"table {found.table}: version {found.version}, {plural(len(found.chains), 'chain')}"
    return cluster.changed(words, table=found)


@asks("dump", "svcmgr mgmtd tables dump 1 > table1.csv", "svcmgr mgmtd tables dump 1 --table-version 2")
@table_argument
@click.option("--table-version", type=U32_ID, metavar="VERSION", help="An older version of the table.")
def dump(cluster: Cluster, table: int, table_version: int | None) -> int:
    """Print a chain table as CSV, as `upload` reads it."""
    found = cluster.ask("chain-tables", TablesRequest(table, table_version or 0), TablesReply).tables
    chosen = next((one for one in found if one.table == table and table_version in (None, one.version)), None)
    if chosen is None:
        which = f"version {table_version} of chain table" if table_version else "chain table"
        raise BadInput(f"cannot find {which} {table}; see `svcmgr mgmtd tables list --all-versions`")
    if cluster.as_json:
        return cluster.finish([], table=chosen)
    from svcmgr.cli.mgmtd_csv import write_table

    render.write(write_table(chosen.chains))
    return EXIT_OK
