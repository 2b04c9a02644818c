"""``reload``: the difference as text and JSON, dry or applied."""

from __future__ import annotations

import pytest

from svcmgr.host.wire import Change, Outcome, ReloadReply

CHANGES = [
    Change("new", "add"),
    Change("old", "remove"),
    Change("web", "restart", {"nice": [0, 5], "cwd": [None, "/srv"]}, "nice cannot change as it runs"),
    Change("db", "live", {"restart": ["never", "always"]}),
    Change("same", "none"),
]


def test_a_dry_run_only_plans(svcmgrd, svcmgr):
    svcmgrd.answers["plan"] = ReloadReply(CHANGES)
    result = svcmgr("reload", "--dry-run")
    assert result.code == 0
    assert result.out.splitlines() == [
        "+ new: added",
        "- old: removed",
        "! web: changed, needs a restart (nice cannot change as it runs)",
        "    nice: 0 -> 5",
        '    cwd: (unset) -> "/srv"',
        "~ db: changed, applied as it runs",
        '    restart: "never" -> "always"',
    ]
    assert svcmgrd.requests("reread") == []


def test_reload_shows_and_applies(svcmgrd, svcmgr):
    svcmgrd.answers["reread"] = ReloadReply(CHANGES, [Outcome("web", "restarted", pid=5)])
    result = svcmgr("reload")
    assert result.code == 0
    assert result.out.splitlines()[-1] == "web: restarted (pid 5)"


def test_json(svcmgrd, svcmgr):
    svcmgrd.answers["reread"] = ReloadReply(CHANGES[2:3], [Outcome("web", "failed", ok=False, code="start-failed")])
    result = svcmgr("reload", "--json")
    assert result.code == 1
    assert result.json["dry_run"] is False
    assert result.json["changes"] == [
        {
            "name": "web",
            "action": "restart",
            "fields": {"nice": [0, 5], "cwd": [None, "/srv"]},
            "text": "nice cannot change as it runs",
        }
    ]
    assert result.json["outcomes"][0]["code"] == "start-failed"


@pytest.mark.parametrize("args", [["--dry-run"], []])
def test_an_invalid_definition_is_a_failure(svcmgrd, svcmgr, args):
    reply = ReloadReply([Change("bad", "invalid", text="line 3: unknown key")])
    svcmgrd.answers.update(plan=reply, reread=reply)
    result = svcmgr("reload", *args)
    assert result.code == 1
    assert "? bad: invalid, left as it was (line 3: unknown key)" in result.out


def test_nothing_to_change_is_said(svcmgrd, svcmgr):
    svcmgrd.answers["reread"] = ReloadReply([Change("same", "none")])
    assert svcmgr("reload").out == "nothing to change\n"


def test_services_by_name_cannot_be_planned(svcmgrd, svcmgr):
    assert svcmgr("reload", "--dry-run", "web").code == 2
    assert svcmgrd.seen == []
