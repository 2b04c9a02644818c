"""A whole cluster on one host: mgmtd and simulated storage nodes as services, killed and brought back."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.kit.rootdir import PYTHON, Root, until

NODES = (2, 3, 4)


def mgmtd(root: Root, *args: str, code: int | None = 0) -> Any:
    """``svcmgr mgmtd ... --json``, parsed."""
    return json.loads(root.cli("mgmtd", *args, "--json", code=code).stdout)


def node(root: Root, number: int) -> None:
    """A simulated storage node with two targets, as a service."""
    command = [PYTHON, "-m", "svcmgr.services", "svcmgr.services.mgmtd.simnoded:SimNoded"]
    flags = [
        "--mgmtd",
        str(root.layout.service_socket("mgmtd")),
        "--node",
        str(number),
        "--heartbeat",
        "1",
        "--sync",
        "0.5",
    ]
    root.add(f"node{number}", [*command, *flags, "--targets", f"{number}01,{number}02"], kind="daemon", start=True)


def publics(root: Root, chain: int) -> dict[int, str]:
    (found,) = mgmtd(root, "chains", "list", str(chain))["chains"]
    return {target["target"]: target["public"] for target in found["targets"]}


def serving(root: Root) -> None:
    root.cli("mgmtd", "wait", "all-serving", "--timeout", "40")


@pytest.fixture
def cluster(make_root) -> Root:
    root = make_root()
    root.up()
    root.add("mgmtd", [], kind="mgmtd", start=True)
    for number in NODES:
        mgmtd(root, "nodes", "register", str(number), "storage")
    mgmtd(root, "chains", "set", "1", "201", "301", "401")
    mgmtd(root, "chains", "set", "2", "302", "402", "202")
    for number in NODES:
        node(root, number)
    serving(root)
    return root


def test_a_node_leaves_its_chains_switch_and_it_syncs_when_it_returns(cluster):
    assert set(publics(cluster, 1).values()) == {"SERVING"}
    cluster.act("stop", "node3")
    until(lambda: publics(cluster, 1)[301] == "OFFLINE", "chain 1 goes on without node 3")
    assert publics(cluster, 1) == {201: "SERVING", 401: "SERVING", 301: "OFFLINE"}
    assert list(publics(cluster, 2)) == [402, 202, 302], "the next target is the head"
    cluster.act("start", "node3")
    serving(cluster)
    assert publics(cluster, 1) == {201: "SERVING", 401: "SERVING", 301: "SERVING"}


def test_kill_of_mgmtd_loses_nothing_that_it_acknowledged(cluster):
    mgmtd(cluster, "tables", "set", "1", "1", "2")
    before = mgmtd(cluster, "chains", "list"), mgmtd(cluster, "tables", "list")
    version = mgmtd(cluster, "routing", "show")["version"]
    pid = cluster.row("mgmtd")["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: cluster.row("mgmtd")["pid"] not in (None, pid), "another mgmtd")
    cluster.running("mgmtd")
    serving(cluster)
    chains, tables = mgmtd(cluster, "chains", "list"), mgmtd(cluster, "tables", "list")
    assert [c["chain"] for c in chains["chains"]] == [c["chain"] for c in before[0]["chains"]]
    assert tables["tables"] == before[1]["tables"]
    assert mgmtd(cluster, "routing", "show")["version"] > version


def test_a_failed_disk_is_one_target_that_is_out_until_it_is_replaced(cluster):
    from svcmgr.conn.blocking import BlockingClient

    with BlockingClient(cluster.layout.service_socket("node2"), timeout=10.0) as client:
        client.call("fail-disk", {"target": 201})
        until(lambda: publics(cluster, 1)[201] == "OFFLINE", "target 201 is out")
        assert publics(cluster, 2)[202] == "SERVING"
        client.call("replace-disk", {"target": 201})
    serving(cluster)
