"""The commands against mgmtd's own operations, on a cluster in memory: that both mean the same."""

from __future__ import annotations

import pytest

from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.ops import chains, clients, configs, nodes, routes, tables
from svcmgr.services.mgmtd.ops.base import Given, Mutation
from svcmgr.services.mgmtd.settings import DEFAULTS
from tests.cli.conftest import NOW

OPERATIONS = [
    nodes.RegisterNode,
    nodes.UnregisterNode,
    nodes.EnableNode,
    nodes.DisableNode,
    nodes.SetNodeTags,
    nodes.Nodes,
    chains.SetChains,
    chains.UpdateChain,
    chains.RotateLastsrv,
    chains.RotatePreferred,
    chains.SetPreferredOrder,
    chains.Chains,
    chains.Targets,
    chains.Orphans,
    chains.ExplainChain,
    tables.SetChainTable,
    tables.ChainTables,
    configs.SetConfig,
    configs.RollbackConfig,
    configs.GetConfig,
    configs.GetConfigVersions,
    clients.Sessions,
    clients.SetUniversalTags,
    clients.UniversalTags,
    routes.GetRouting,
]


@pytest.fixture
def cluster(mgmtd):
    """A cluster that the scripted mgmtd carries out every request on, as a primary does but for the store."""
    moment = Moment(100.0, NOW)
    cluster = Cluster(1, moment)

    def carry_out(operation):
        def run(request):
            operation.check(request)
            given = Given(cluster, DEFAULTS, moment, 1)
            if not isinstance(operation, Mutation):
                return operation.answer(given, request)
            decision = operation.decide(given, request)
            if not request.dry_run and cluster.apply(decision.changes):
                cluster.advance(cluster.version + 1)
            mgmtd.version = cluster.version
            return decision.reply

        return run

    for kind in OPERATIONS:
        mgmtd.answers[kind.verb] = carry_out(kind())
    return cluster


@pytest.fixture
def chain(cluster, svcmgr):
    """Chain 9 of targets 11 and 21, in table 1."""
    assert svcmgr("mgmtd", "chains", "set", "9", "11", "21", "--keep-order").code == 0
    assert svcmgr("mgmtd", "tables", "set", "1", "9", "--desc", "stage").code == 0
    return 9


def test_the_life_of_a_node(cluster, svcmgr):
    assert svcmgr("mgmtd", "nodes", "register", "7", "storage", "--dry-run").code == 0
    assert cluster.nodes == {}
    assert svcmgr("mgmtd", "nodes", "register", "7", "storage").code == 0
    again = svcmgr("mgmtd", "nodes", "register", "7", "storage", "--json")
    assert (again.code, again.json["error"]["code"]) == (1, "register-fail")
    assert svcmgr("mgmtd", "nodes", "tag", "7", "rack=7", "TrafficZone=z1").out == "node 7: TrafficZone=z1 rack=7\n"
    assert svcmgr("mgmtd", "nodes", "tag", "7", "rack", "--mode", "remove").out == "node 7: TrafficZone=z1\n"
    assert svcmgr("mgmtd", "nodes", "disable", "7", "--now").out == "node 7: DISABLED\n"
    assert "7  STORAGE  DISABLED" in svcmgr("mgmtd", "nodes", "list", "--zone", "z1").out
    assert svcmgr("mgmtd", "nodes", "list", "--status", "heartbeat_failed").out == "0 nodes\n"
    assert svcmgr("mgmtd", "wait", "node", "7", "--state", "disabled").code == 0
    assert svcmgr("mgmtd", "nodes", "enable", "7").out == "node 7: HEARTBEAT_CONNECTING\n"
    assert svcmgr("mgmtd", "nodes", "disable", "7").code == 0
    assert svcmgr("mgmtd", "nodes", "unregister", "7").code == 0
    missing = svcmgr("mgmtd", "nodes", "enable", "7", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (2, "node-not-found")


def test_chains_and_tables_come_back_as_they_were_dumped(chain, svcmgr, tmp_path):
    for what, args in [("chains", []), ("tables", ["1"])]:
        file = tmp_path / f"{what}.csv"
        file.write_text(svcmgr("mgmtd", what, "dump", *args).out)
        assert svcmgr("mgmtd", what, "upload", *args, str(file)).code == 0
    shown = svcmgr("mgmtd", "chains", "show", "9", "--json").json["chain"]
    assert [one["target"] for one in shown["targets"]] == [11, 21]
    assert (shown["version"], shown["preferred"], shown["tables"]) == (1, [11, 21], [1])
    listed = svcmgr("mgmtd", "tables", "list", "--all-versions", "--json").json["tables"]
    assert [(one["version"], one["replicas"], one["desc"]) for one in listed] == [(1, 2, "stage")]


def test_a_chain_grows_is_explained_and_listed(chain, svcmgr):
    assert svcmgr("mgmtd", "chains", "add-target", "9", "31").code == 0
    assert [one["target"] for one in svcmgr("mgmtd", "targets", "list", "--json").json["targets"]] == [11, 21, 31]
    explained = svcmgr("mgmtd", "chains", "explain", "9").out
    assert all(f"target {target} " in explained for target in (11, 21, 31))
    assert svcmgr("mgmtd", "chains", "list", "--table", "1").out.splitlines()[1].split()[0] == "9"
    assert svcmgr("mgmtd", "chains", "prefer", "9", "21").code == 0
    stays = svcmgr("mgmtd", "chains", "rotate-preferred", "9", "--json").json["chain"]
    assert [one["target"] for one in stays["targets"]] == [11, 21, 31], "21 does not serve yet"
    assert svcmgr("mgmtd", "targets", "orphans").out == "0 orphans\n"
    missing = svcmgr("mgmtd", "chains", "show", "8", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (2, "chain-not-found")
    assert svcmgr("mgmtd", "wait", "all-serving", "--timeout", "0").code == 5


def test_configurations_and_their_history(cluster, svcmgr, tmp_path):
    file = tmp_path / "x.toml"
    for text in ("threads = 4\n", "threads = 8\n"):
        file.write_text(text)
        assert svcmgr("mgmtd", "config", "set", "storage", str(file)).code == 0
    assert svcmgr("mgmtd", "config", "get", "storage").out == "threads = 8\n"
    assert svcmgr("mgmtd", "config", "get", "storage", "0").out == ""
    assert "+threads = 8" in svcmgr("mgmtd", "config", "diff", "storage").out
    assert "rollback of 2 to 1" in svcmgr("mgmtd", "config", "rollback", "storage", "1").out
    assert svcmgr("mgmtd", "config", "get", "storage").out == "threads = 4\n"
    missing = svcmgr("mgmtd", "config", "get", "storage", "9", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (2, "invalid-config-version")
    versions = svcmgr("mgmtd", "config", "versions", "--json").json["versions"]
    assert {one["type"]: one["version"] for one in versions}["STORAGE"] == 3
    file.write_text("lease_lenght = 5\n")
    refused = svcmgr("mgmtd", "config", "set", "mgmtd", str(file))
    assert refused.code == 2
    assert "line 1" in refused.err


def test_clients_and_routing(chain, svcmgr):
    assert svcmgr("mgmtd", "sessions", "list").out == "0 sessions\n"
    assert svcmgr("mgmtd", "host-tags", "set", "h7", "a=b").out == "h7: a=b\n"
    assert svcmgr("mgmtd", "host-tags", "show", "h7").out == "h7: a=b\n"
    routing = svcmgr("mgmtd", "routing", "show", "--json").json["routing"]
    assert [one["chain"] for one in routing["chains"]] == [9]
