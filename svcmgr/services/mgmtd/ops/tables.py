"""Operations on chain tables."""

from __future__ import annotations

from typing import Any

from svcmgr.services.mgmtd import infos, wire
from svcmgr.services.mgmtd.changes import Change, Kind
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.ops.base import Decision, Given, Mutation, Query
from svcmgr.services.mgmtd.tables import ChainTable, TableSetting, next_table


def info_of(cluster: Cluster, table: ChainTable) -> wire.TableInfo:
    """With the length of its chains."""
    first = cluster.chains.get(table.chains[0])
    return infos.table_info(table, len(first.targets) if first else 0)


class SetChainTable(Mutation):
    verb = "set-chain-table"
    request = wire.SetTableRequest

    def decide(self, given: Given, request: wire.SetTableRequest) -> Decision:
        cluster = given.cluster
        versions = cluster.tables.get(request.table, {})
        table = next_table(TableSetting(request.table, request.chains, request.desc), versions, cluster.chains)
        known = table.version in versions
        what = f"version {table.version} with {len(table.chains)} chains"
        change = Change(Kind.TABLE, (table.table_id, table.version), None, table, what)
        return Decision(() if known else (change,), info_of(cluster, table))


class ChainTables(Query):
    verb = "chain-tables"
    request = wire.TablesRequest

    def answer(self, given: Given, request: wire.TablesRequest) -> Any:
        cluster = given.cluster
        found = []
        for id in [request.table] if request.table else sorted(cluster.tables):
            versions = cluster.tables.get(id, {})
            wanted = sorted(versions) if request.version < 0 else [request.version or max(versions, default=0)]
            found += [versions[version] for version in wanted if version in versions]
        return wire.TablesReply([info_of(cluster, table) for table in found])
