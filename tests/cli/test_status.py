"""``status``: one set of facts as text and JSON, exit codes, and what it says when svcmgrd is down."""

from __future__ import annotations

import sys
import time
import types

import pytest

from svcmgr.cli import rows
from svcmgr.errors import UnknownService
from svcmgr.host import wire
from tests.cli.conftest import NOW

WEB = wire.ServiceRow(
    name="web@1",
    kind="web",
    instance="1",
    goal="up",
    state="running",
    status="online",
    enabled=True,
    pid=4242,
    since=NOW,
    started=time.monotonic() - 1,
    restarts=3,
    reason="asked for",
    last_exit=wire.Exit(at=NOW - 2, signal="SIGKILL", core=True, uptime_s=12.5, log_tail="boom\nbang"),
    socket="/r/web.sock",
    pidfile="/r/web.pid",
    log="/l/web.log",
)
DOWN = wire.ServiceRow(name="db", kind="command", goal="down", state="down", status="down", since=NOW)
DEGRADED = wire.ServiceRow(name="slow", kind="command", goal="up", state="running", status="degraded", since=NOW, pid=7)

KEYS = [
    "name",
    "kind",
    "instance",
    "goal",
    "state",
    "status",
    "enabled",
    "pid",
    "since",
    "started",
    "uptime_s",
    "restarts",
    "last_exit",
    "reason",
    "socket",
    "pidfile",
    "log",
]


def test_json_has_every_key_for_every_row(svcmgrd, svcmgr, root):
    svcmgrd.status(WEB, DOWN, invalid={"bad": "line 3"})
    result = svcmgr("status", "--json")
    assert result.code == 0
    assert result.err == ""
    document = result.json
    assert document["svcmgrd"]["root"] == str(root)
    assert document["svcmgrd"]["started"] == "2026-01-31T08:00:00.250Z"
    assert document["svcmgrd"]["uptime_s"] == 61.0
    assert document["svcmgrd"]["version"] == "9.9"
    assert document["svcmgrd"]["invalid"] == {"bad": "line 3"}
    assert [list(service) for service in document["services"]] == [KEYS, KEYS]
    web, db = document["services"]
    assert web["last_exit"] == {
        "code": None,
        "signal": "SIGKILL",
        "core": True,
        "at": "2026-01-31T07:59:58.250Z",
        "uptime_s": 12.5,
        "log_tail": "boom\nbang",
    }
    assert web["uptime_s"] > 0
    assert db["last_exit"] is db["pid"] is db["uptime_s"] is db["socket"] is None


def test_text_carries_the_same_facts(svcmgrd, svcmgr, root):
    svcmgrd.status(WEB, DOWN, invalid={"bad": "line 3"})
    result = svcmgr("status")
    assert result.code == 0
    daemon, header, web, db, invalid = result.out.splitlines()
    assert "9.9" in daemon
    assert "1m01s" in daemon
    assert str(root) in daemon
    assert header.split()[:3] == ["NAME", "KIND", "GOAL"]
    facts = ["web@1", "web", "up", "running", "online", "yes", "4242", "2026-01-31T08:00:00Z", "3", "signal SIGKILL"]
    for fact in [*facts, "asked for", "/r/web.sock", "/r/web.pid", "/l/web.log"]:
        assert fact in web
    assert db.split()[:5] == ["db", "command", "down", "down", "down"]
    assert "bad: line 3" in invalid


def test_long_text_has_every_key(svcmgrd, svcmgr):
    svcmgrd.status(WEB)
    result = svcmgr("status", "--long", "web@1")
    for key in KEYS[1:]:
        assert f"\n  {key}:" in result.out
    assert "    | bang" in result.out


def test_names_go_to_svcmgrd_and_a_service_that_is_not_up_gives_3(svcmgrd, svcmgr):
    svcmgrd.status(WEB, DOWN)
    assert svcmgr("status", "web@*", "db").code == 3
    assert svcmgrd.requests("status")[-1].names == ["web@*", "db"]
    assert svcmgr("status").code == 0
    svcmgrd.status(WEB, DEGRADED)
    assert svcmgr("status", "web@1", "slow").code == 0
    svcmgrd.status(WEB, wire.ServiceRow(name="s", kind="k", goal="up", state="starting", status="starting", since=0))
    assert svcmgr("status", "s", "--json").code == 3


def test_a_failed_service_shows_its_last_words(svcmgrd, svcmgr):
    end = wire.Exit(at=NOW, code=2, log_tail="one\n\x1b[2Jtwo")
    svcmgrd.status(wire.ServiceRow("db", "command", "up", "failed", "failed", NOW, last_exit=end))
    text = svcmgr("status").out
    assert "code 2 at 2026-01-31T08:00:00Z" in text
    assert "    one\n    \\x1b[2Jtwo\n" in text


def test_an_exit_nobody_saw_is_unknown():
    words = rows.exit_words(rows.exit_object(wire.Exit(at=NOW)))
    assert words.startswith("unknown at")
    assert rows.exit_words(None) == ""


def test_no_services_is_said(svcmgrd, svcmgr):
    svcmgrd.status()
    assert "no services" in svcmgr("status").out
    assert svcmgr("status", "--json").json["services"] == []


def test_a_stepped_clock_shows_no_negative_age():
    assert rows.as_object(WEB, 0.0, 0.0)["uptime_s"] == 0.0


def test_an_unknown_name_is_usage_with_near_names(svcmgrd, svcmgr):
    svcmgrd.answers["status"] = UnknownService("cannot find service 'wbe'", near=["web", "wee"])
    result = svcmgr("status", "wbe")
    assert result.code == 2
    assert "web, wee" in result.err
    assert result.out == ""
    document = svcmgr("status", "wbe", "--json").json
    assert document["error"]["code"] == "unknown-service"
    assert document["error"]["details"] == {"near": ["web", "wee"]}


@pytest.fixture
def offline(monkeypatch):
    """What svcmgrd's files would say, without the room that reads them."""
    module = types.ModuleType("svcmgr.host.offline")
    module.status = lambda layout: [WEB, DOWN]
    monkeypatch.setitem(sys.modules, "svcmgr.host.offline", module)


@pytest.mark.usefixtures("offline")
class TestWithoutSvcmgrd:
    def test_text_says_so_and_shows_the_rest(self, svcmgr):
        result = svcmgr("status")
        assert result.code == 4
        assert "svcmgrd is down" in result.out.splitlines()[0]
        assert "web@1" in result.out

    def test_json_has_null_and_the_rest(self, svcmgr):
        result = svcmgr("status", "--json")
        assert result.code == 4
        assert result.json["svcmgrd"] is None
        assert [service["name"] for service in result.json["services"]] == ["web@1", "db"]
        assert "down" in result.err

    def test_names_select(self, svcmgr):
        assert [one["name"] for one in svcmgr("status", "w*", "--json").json["services"]] == ["web@1"]
        assert [one["name"] for one in svcmgr("status", "db", "w*", "--json").json["services"]] == ["web@1", "db"]

    def test_an_unknown_name_is_usage_even_then(self, svcmgr):
        result = svcmgr("status", "wbe@1")
        assert result.code == 2
        assert "web@1" in result.err
