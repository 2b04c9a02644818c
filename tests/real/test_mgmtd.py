"""mgmtd as a true daemon under svcmgrd: it starts with one command, and nothing that it acknowledged is ever lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import stat
import threading
import time

import pytest

from svcmgr.conn.blocking import BlockingClient
from svcmgr.errors import BadInput, ConnectionFault, SvcmgrError
from svcmgr.services.mgmtd import errors as mgmtd_errors  # makes the codes of the wire classes again
from tests.kit.daemonproc import DaemonProc
from tests.kit.rootdir import until

#: Kills of the loop; each is at another moment.
KILLS = 8


@pytest.fixture
def root(bare):
    """A svcmgrd of its own, so that the store is empty."""
    bare.up()
    return bare


def started(root):
    root.cli("add", "mgmtd", "--kind", "mgmtd", "--start")
    return root.row("mgmtd")


def ask(row, verb, **fields):
    with BlockingClient(row["socket"], timeout=20.0) as client:
        return client.call(verb, fields or None)["result"]


def answered(row, verb, **fields):
    """As soon as it serves again."""

    def attempt():
        with contextlib.suppress(ConnectionFault, mgmtd_errors.NotPrimary):
            return [ask(row, verb, **fields)]
        return None

    return until(attempt, f"an answer to {verb}")[0]


def beat(row, version, *targets):
    return ask(
        row,
        "heartbeat",
        app={"node": 2, "incarnation": "a", "hostname": "h2"},
        type="STORAGE",
        version=version,
        timestamp=time.time(),
        targets=[{"target": id, "state": state} for id, state in targets],
    )


def test_one_command_brings_a_cluster_up(root):
    row = started(root)
    assert row["status"] == "online"
    assert ask(row, "primary")["node"] == 1
    ask(row, "register-node", node=2, type="STORAGE")
    ask(row, "set-chains", chains=[{"chain": 1, "targets": [21, 22]}])
    version = ask(row, "routing")["routing"]["version"]
    beat(row, 1, (21, "ONLINE"), (22, "ONLINE"))
    news = ask(row, "watch", version=version, kinds=["chains"], wait_s=10.0)
    assert news["delta"]["chains"][0]["chain"] == 1
    until(lambda: ask(row, "chains", ids=[1])["chains"][0]["status"] == "SERVING", "the chain serves")
    store = root.layout.state / "mgmtd" / "mgmtd.db"
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    with BlockingClient(row["socket"]) as client:
        assert client.call("statistics")["own"]["role"] == "PRIMARY"


def test_a_killed_mgmtd_comes_back_with_all_that_it_acknowledged(root):
    row = started(root)
    ask(row, "register-node", node=2, type="STORAGE")
    ask(row, "set-chains", chains=[{"chain": 1, "targets": [21]}])
    ask(row, "set-config", type="META", content="a = 1\n")
    epoch = ask(row, "lease")["epoch"]
    os.kill(row["pid"], signal.SIGKILL)
    until(lambda: (pid := root.row("mgmtd")["pid"]) and pid != row["pid"], "another process")
    nodes = answered(row, "nodes")["nodes"]
    assert [node["app"]["node"] for node in nodes] == [1, 2]
    assert ask(row, "chains")["chains"][0]["status"] == "CREATED"
    assert ask(row, "config", type="META")["content"] == "a = 1\n"
    assert ask(row, "lease")["epoch"] == epoch + 1
    told = [event["kind"] for event in ask(row, "events")["events"]]
    # The event of the last election is told from memory until it is stored with the next change.
    assert told == ["lease", "node", "chain", "config", "lease"]


class Writer(threading.Thread):
    """Makes chains of two targets one after the other; keeps what was acknowledged, and what is not known."""

    def __init__(self, socket, first):
        super().__init__()
        self._socket = socket
        self._next = first
        self.acknowledged = []

    def run(self):
        try:
            with BlockingClient(self._socket, timeout=20.0) as client:
                while True:
                    id = self._next
                    self._next += 1
                    client.call("set-chains", {"chains": [{"chain": id, "targets": [2 * id, 2 * id + 1]}]})
                    self.acknowledged.append(id)
        except SvcmgrError:
            return  # it was killed


def test_kill_loop_nothing_acknowledged_is_lost_and_nothing_half_is_there(tmp_path):
    rng = random.Random(7)
    acknowledged, version = [], 0
    for _ in range(KILLS):
        with DaemonProc(
            tmp_path, "--store", tmp_path / "m.db", daemon="svcmgr.services.mgmtd.daemon:Mgmtdd", name="mgmtd"
        ) as daemon:
            daemon.up()
            answer = daemon.call("chains")
            there = {chain["chain"]: chain for chain in answer["result"]["chains"]}
            assert set(acknowledged) <= set(there)
            assert len(set(there) - set(acknowledged)) <= KILLS, "at most one of unknown outcome for each kill"
            assert all(len(chain["targets"]) == 2 for chain in there.values())
            assert answer["version"] > version, "a version is never given twice"
            version = answer["version"]
            writer = Writer(str(daemon.socket), max(there, default=0) + 1)
            writer.start()
            until(lambda: len(writer.acknowledged) > rng.randrange(1, 30), "some chains")  # noqa: B023
            daemon.process.kill()
            writer.join()
            acknowledged += writer.acknowledged
    assert len(acknowledged) >= KILLS
    with sqlite3.connect(tmp_path / "m.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_second_mgmtd_on_the_store_waits_for_the_lease(tmp_path):
    flags = ("--store", tmp_path / "m.db")
    kind = "svcmgr.services.mgmtd.daemon:Mgmtdd"
    with DaemonProc(tmp_path, *flags, "--node", "1", daemon=kind, name="one") as one:
        one.up()
        with DaemonProc(tmp_path, *flags, "--node", "2", daemon=kind, name="two") as two:
            two.up()
            assert two.call("primary")["result"]["node"] == 1
            with pytest.raises(mgmtd_errors.NotPrimary):
                two.call("nodes")
            one.call("release-lease")
            until(lambda: two.call("primary")["result"].get("node") == 2, "the second takes over")
            assert two.call("nodes")["epoch"] == 2


def test_what_cannot_be_served_ends_the_start_with_a_reason(tmp_path):
    kind = "svcmgr.services.mgmtd.daemon:Mgmtdd"
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database at all, but long enough to be one" * 100)
    garbage.chmod(0o600)
    for flags in (("--store", garbage), ("--store", tmp_path / "m.db", "--node", "0"), ()):
        with DaemonProc(tmp_path, *flags, daemon=kind) as daemon:
            until(lambda: daemon.process.poll() is not None, "its end")
            assert daemon.process.returncode in (1, 2)
            assert "Traceback" not in daemon.text()


def test_the_definition_has_options(root):
    root.cli("add", "mgmtd@b", "--kind", "mgmtd")
    path = root.layout.definitions / "mgmtd@b.toml"
    store = root.scratch / "elsewhere.db"
    path.write_text(path.read_text() + f'\n[options]\ncluster = "blue"\nnode = 7\nstore = "{store}"\n')
    root.cli("reload")
    root.cli("start", "mgmtd@b")
    row = root.row("mgmtd@b")
    assert ask(row, "primary", cluster="blue")["node"] == 7
    assert store.exists()
    with pytest.raises(BadInput):
        ask(row, "primary", cluster="green")
