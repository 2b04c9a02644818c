"""``show``, ``kinds`` and ``doctor``: what svcmgrd knows, as text and JSON."""

from __future__ import annotations

import pytest

from svcmgr.errors import UnknownService
from svcmgr.host.wire import Finding, KindInfo, ServiceRow
from tests.cli.conftest import NOW


def facts(request):
    return {"name": request.name, "definition": {"command": ["/bin/a"]}, "pid": None}


def test_show_asks_for_each_name_once(svcmgrd, svcmgr):
    svcmgrd.answers["show"] = facts
    result = svcmgr("show", "web", "db", "web", "--json")
    assert result.json == {"services": {name: facts(ServiceRow(name, "", "", "", "", 0)) for name in ("web", "db")}}


def test_show_text(svcmgrd, svcmgr):
    svcmgrd.answers["show"] = facts
    assert svcmgr("show", "web").out.splitlines() == [
        "web",
        "  name: web",
        "  definition:",
        '    command: ["/bin/a"]',
        "  pid: -",
    ]


def test_show_expands_globs_by_status(svcmgrd, svcmgr):
    svcmgrd.answers["show"] = facts
    svcmgrd.status(*(ServiceRow(name, "web", "up", "running", "online", NOW) for name in ("web@1", "web@2")))
    assert list(svcmgr("show", "web@*", "--json").json["services"]) == ["web@1", "web@2"]
    assert svcmgrd.requests("status")[0].names == ["web@*"]


def test_show_of_an_unknown_service(svcmgrd, svcmgr):
    svcmgrd.answers["show"] = UnknownService("cannot find service 'x'", near=["web"])
    result = svcmgr("show", "x")
    assert (result.code, result.err) == (2, "svcmgr: cannot find service 'x'\n  did you mean: web\n")


def test_kinds(svcmgrd, svcmgr):
    svcmgrd.answers["kinds"] = [
        KindInfo("command", "Any program.", "svcmgr"),
        KindInfo("odd", "", "odd-package", error="No module named 'odd'"),
    ]
    text = svcmgr("kinds")
    assert text.code == 0
    assert text.out.splitlines()[1].split() == ["command", "svcmgr", "Any", "program."]
    assert "cannot be used: No module named 'odd'" in text.out
    assert svcmgr("kinds", "--json").json["kinds"][1] == {
        "kind": "odd",
        "summary": "",
        "source": "odd-package",
        "error": "No module named 'odd'",
    }


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("error", 1)])
def test_doctor_fails_on_errors_only(svcmgrd, svcmgr, level, code):
    svcmgrd.answers["doctor"] = [Finding(level, "web", "its pidfile is stale", "remove it")]
    result = svcmgr("doctor")
    assert result.code == code
    assert result.out.splitlines() == [f"{level:<7}  web: its pidfile is stale", "         -> remove it"]
    assert svcmgr("doctor", "--json").json == {
        "findings": [{"level": level, "subject": "web", "text": "its pidfile is stale", "advice": "remove it"}]
    }


def test_doctor_with_nothing_to_say(svcmgrd, svcmgr):
    svcmgrd.answers["doctor"] = []
    assert svcmgr("doctor").out == "nothing looks wrong\n"


def test_doctor_without_svcmgrd_finds_that(svcmgr):
    result = svcmgr("doctor", "--json")
    assert result.code == 4
    assert [(one["level"], one["subject"]) for one in result.json["findings"]] == [("error", "svcmgrd")]
