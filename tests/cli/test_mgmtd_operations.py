"""The commands against a true mgmtd on a store in memory: that both mean the same."""

from __future__ import annotations

import asyncio
import json
import logging
import threading

import pytest

from svcmgr.clock import SystemClock
from svcmgr.conn import Access
from svcmgr.conn.blocking import BlockingClient
from svcmgr.errors import AlreadyExists
from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.mgmtd import Identity, Mgmtd, Seams
from svcmgr.services.mgmtd.nodes import AppFacts
from svcmgr.services.mgmtd.ops.base import Caller, Scope
from svcmgr.services.mgmtd.ops.table import OPERATIONS
from svcmgr.services.mgmtd.store import Memory, MemoryStore, dump, exportfile, keys
from tests.cli.conftest import ScriptedMgmtd

#: Small changes are told of soon, so that nothing here waits for long.
SETTINGS = "bump_routing_info_version_interval = 0.05\n"


ACCESS = {verb: Access.READ if one.scope is Scope.READ else Access.ADMIN for verb, one in OPERATIONS.items()}


class LiveMgmtd(ScriptedMgmtd):
    """The same server with a true mgmtd behind it: node 1, alone, and primary from the beginning."""

    def __init__(self, layout):
        super().__init__(layout)
        self.verbs = {verb: (ACCESS[verb], one.request) for verb, one in OPERATIONS.items()}

    async def _serve(self):
        on_duty = asyncio.Event()

        class Known(Mgmtd):
            def serve(self, epoch):
                super().serve(epoch)
                on_duty.set()

        seams = Seams(SystemClock(), lambda: 0.5, logging.getLogger("mgmtd"))
        self.mgmtd = Known(Identity(cluster_id="c", app=AppFacts(node_id=1)), MemoryStore(Memory()), seams)
        async with self.mgmtd.running():
            async with asyncio.timeout(10):
                await on_duty.wait()
            await super()._serve()

    def _handler(self, verb):
        async def handle(request, ctx):
            return await self.mgmtd.call(verb, request, Caller(Scope.ADMIN, "tester"))

        return handle


@pytest.fixture
def live(layout):
    with LiveMgmtd(layout) as daemon:
        yield daemon


def heartbeat(live, node, version=1, *targets):
    """What a storage node says; its targets as (id, state)."""
    app = wire.AppInfo(node, f"i{node}", f"h{node}")
    told = [wire.LocalTargetInfo(*target) for target in targets]
    request = wire.HeartbeatRequest(app, "STORAGE", version, SystemClock().utc(), targets=told)
    with BlockingClient(live.socket) as client:
        client.call("heartbeat", request)


@pytest.fixture
def chain(live, svcmgr):
    """Chain 9 of targets 11 and 21, in table 1."""
    assert svcmgr("mgmtd", "chains", "set", "9", "11", "21", "--keep-order").code == 0
    assert svcmgr("mgmtd", "tables", "set", "1", "9", "--desc", "stage").code == 0
    return 9


def test_the_life_of_a_node(live, svcmgr):
    assert svcmgr("mgmtd", "nodes", "register", "7", "storage", "--dry-run").code == 0
    assert svcmgr("mgmtd", "nodes", "list", "7").out == "0 nodes\n"
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


def test_configurations_and_their_history(live, svcmgr, tmp_path):
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
    listed = svcmgr("mgmtd", "sessions", "list", "--json").json
    assert (listed["sessions"], listed["bootstrapping"]) == ([], True)
    assert svcmgr("mgmtd", "host-tags", "set", "h7", "a=b").out == "h7: a=b\n"
    assert svcmgr("mgmtd", "host-tags", "show", "h7").out == "h7: a=b\n"
    routing = svcmgr("mgmtd", "routing", "show", "--json").json["routing"]
    assert [one["chain"] for one in routing["chains"]] == [9]


def test_what_changed_is_told_with_its_cause(chain, svcmgr):
    svcmgr("mgmtd", "nodes", "register", "7", "storage")
    events = svcmgr("mgmtd", "events", "--json").json
    assert events["lost"] == 0
    assert {"chain", "table", "node"} <= {event["kind"] for event in events["events"]}
    (node,) = svcmgr("mgmtd", "events", "node", "7", "--json").json["events"]
    assert (node["cause"], node["by"]) == ("operation", "register-node of tester")
    assert svcmgr("mgmtd", "events", "--since", str(events["next"])).out == ""


def test_the_lease_and_the_store(live, svcmgr):
    assert svcmgr("mgmtd", "lease", "primary").out.splitlines()[0] == "node 1"
    assert "node 1 holds the lease, epoch 1" in svcmgr("mgmtd", "lease", "show").out
    result = svcmgr("mgmtd", "fsck")
    assert (result.code, "0 bad" in result.out) == (0, True)
    assert svcmgr("mgmtd", "lease", "release").code == 0
    refused = svcmgr("mgmtd", "nodes", "list", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "not-primary")
    assert svcmgr("mgmtd", "doctor").code == 1


def test_an_export_is_a_file_that_can_be_read(live, svcmgr, tmp_path):
    svcmgr("mgmtd", "nodes", "register", "7", "storage")
    file = tmp_path / "cluster.jsonl"
    told = svcmgr("mgmtd", "export", str(file), "--json").json
    with exportfile.opened(file) as lines:
        found = dump.read(lines)
    assert (told["records"], told["bytes"]) == (len(found.puts), file.stat().st_size)
    assert keys.node(7) in {put.key for put in found.puts}
    again = svcmgr("mgmtd", "export", str(file), "--json")
    assert (again.code, again.json["error"]["code"]) == (AlreadyExists.exit_code, "already-exists")


def test_a_node_is_waited_for_and_its_chain_serves(live, svcmgr, start_svcmgr, tmp_path):
    file = tmp_path / "mgmtd.toml"
    file.write_text(SETTINGS)
    assert svcmgr("mgmtd", "config", "set", "mgmtd", str(file)).code == 0
    svcmgr("mgmtd", "nodes", "register", "7", "storage")
    svcmgr("mgmtd", "chains", "set", "9", "11")
    svcmgr("mgmtd", "tables", "set", "1", "9")
    assert svcmgr("mgmtd", "doctor").code == 0
    with (
        start_svcmgr("mgmtd", "wait", "node", "7", "--json") as node,
        start_svcmgr("mgmtd", "wait", "all-serving") as chains,
    ):
        heartbeat(live, 7, 1, (11, "UPTODATE"))
        out, err = node.communicate(timeout=30)
        assert (json.loads(out)["reached"], err) == ("node 7 connected", "")
        assert chains.communicate(timeout=30) == ("all chains serving\n", "")
    assert svcmgr("mgmtd", "chains", "list").out.splitlines()[1].split()[3] == "SERVING"
    assert svcmgr("mgmtd", "targets", "list", "--node", "7").out.splitlines()[1].split()[2:5] == [
        "HEAD",
        "SERVING",
        "UPTODATE",
    ]


def test_routing_is_followed(live, svcmgr, start_svcmgr):
    with start_svcmgr("mgmtd", "routing", "watch", "--since", "1", "--kind", "nodes", "--json") as process:
        deadline = threading.Timer(30, process.kill)
        deadline.start()
        try:
            svcmgr("mgmtd", "nodes", "register", "7", "storage")
            told = (json.loads(line) for line in process.stdout)
            assert any(node["node"] == 7 for delta in told for node in delta["nodes"])
        finally:
            deadline.cancel()
            process.kill()
