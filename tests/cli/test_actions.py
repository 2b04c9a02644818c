"""Actions: what is asked of svcmgrd, what is printed, and the exit code of what became of it."""

from __future__ import annotations

import asyncio

import pytest

from svcmgr.cli import outcomes
from svcmgr.errors import Busy, NotPermitted, UnknownService
from svcmgr.host.wire import Outcome

STARTED = Outcome("web", "started", pid=12)
FAILED = Outcome("db", "failed", ok=False, text="cannot start db: exit code 2", code="start-failed", log_tail="no disk")
LATE = Outcome("slow", "timeout", ok=False, text="cannot wait longer", code="timeout")


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_an_action_waits_by_default(svcmgrd, svcmgr, verb):
    svcmgrd.actions(verb, STARTED)
    result = svcmgr(verb, "web", "w*", "--timeout", "7")
    assert (result.code, result.out, result.err) == (0, "web: started (pid 12)\n", "")
    (request,) = svcmgrd.requests(verb)
    assert (request.names, request.wait, request.timeout_s) == (["web", "w*"], True, 7.0)


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_no_wait_is_passed_on(svcmgrd, svcmgr, verb):
    svcmgrd.actions(verb, Outcome("web", "starting"))
    assert svcmgr(verb, "--no-wait", "web").code == 0
    assert svcmgrd.requests(verb)[0].wait is False


@pytest.mark.parametrize("verb", ["enable", "disable", "reload"])
def test_other_verbs_take_names(svcmgrd, svcmgr, verb):
    svcmgrd.actions(verb, Outcome("a", f"{verb}d"), Outcome("b", "unchanged"))
    result = svcmgr(verb, "a", "b")
    assert result.code == 0
    assert result.out.splitlines()[1] == "b: unchanged"
    assert svcmgrd.requests(verb)[0].names == ["a", "b"]


def test_json_has_every_key(svcmgrd, svcmgr):
    svcmgrd.actions("start", STARTED, FAILED)
    result = svcmgr("start", "*", "--json")
    assert result.code == 1
    assert result.json["outcomes"] == [
        {"name": "web", "result": "started", "ok": True, "pid": 12, "text": "", "code": "", "log_tail": ""},
        {
            "name": "db",
            "result": "failed",
            "ok": False,
            "pid": None,
            "text": "cannot start db: exit code 2",
            "code": "start-failed",
            "log_tail": "no disk",
        },
    ]


def test_failures_go_to_standard_error_with_the_log_tail(svcmgrd, svcmgr):
    svcmgrd.actions("start", FAILED, STARTED)
    result = svcmgr("start", "*")
    assert result.code == 1
    assert result.out == "web: started (pid 12)\n"
    assert result.err == "db: failed: cannot start db: exit code 2\n    no disk\n"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([], 0),
        ([STARTED], 0),
        ([STARTED, LATE], 5),
        ([FAILED, LATE], 1),
        ([LATE, LATE], 5),
        ([FAILED], 1),
        ([Outcome("x", "failed", ok=False, code="not-running")], 3),
        ([Outcome("x", "failed", ok=False, code="unknown-service")], 2),
        ([Outcome("x", "failed", ok=False, code="from-the-future")], 1),
        ([Outcome("x", "failed", ok=False)], 1),
        ([Outcome("x", "was-not-running")], 0),
    ],
)
def test_exit_codes(found, code):
    assert outcomes.exit_code(found) == code


def test_an_outcome_is_one_line_whatever_its_text():
    assert outcomes.line(Outcome("web", "already-running", pid=3)) == "web: already running (pid 3)"
    assert outcomes.line(Outcome("web", "killed", text="a\nb\x1b")) == "web: killed: a\\nb\\x1b"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownService("cannot find service 'wbe'", near=["web"]), 2),
        (NotPermitted("cannot start web: uid 1000 may only read"), 1),
        (Busy("cannot remove web: it runs"), 1),
        (RuntimeError("a bug in a verb"), 1),
    ],
)
def test_errors_of_svcmgrd_are_one_message(svcmgrd, svcmgr, error, code):
    svcmgrd.answers["start"] = error
    result = svcmgr("start", "wbe")
    assert result.code == code
    assert result.out == ""
    assert result.err.startswith("svcmgr: cannot ")
    assert "Traceback" not in result.err


def test_no_answer_in_time_is_5(svcmgrd, svcmgr, monkeypatch):
    monkeypatch.setattr("svcmgr.cli.actions.ANSWER_MARGIN_S", 0.0)
    svcmgrd.answers["stop"] = lambda request: asyncio.sleep(3600)
    result = svcmgr("stop", "web", "--timeout", "0.05")
    assert result.code == 5
    assert result.err.startswith("svcmgr: cannot ")


def test_no_svcmgrd_is_4(svcmgr):
    for command in ("start", "stop", "restart", "enable", "disable", "remove", "show"):
        result = svcmgr(command, "web")
        assert result.code == 4, command
        assert result.err.startswith("svcmgr: cannot ")


def test_actions_need_a_name(svcmgr):
    for command in ("start", "stop", "restart", "enable", "disable", "remove", "show", "logs"):
        result = svcmgr(command)
        assert result.code == 2, command
        assert "NAME" in result.err


@pytest.mark.parametrize("timeout", ["-1", "x", "nan", "inf", "1e300"])
def test_a_timeout_is_a_finite_duration(svcmgr, timeout):
    assert svcmgr("start", "web", "--timeout", timeout).code == 2


def test_remove_can_stop_first(svcmgrd, svcmgr):
    svcmgrd.actions("remove", Outcome("web", "removed"))
    assert svcmgr("remove", "web", "--stop", "--timeout", "3").out == "web: removed\n"
    assert svcmgr("remove", "web").code == 0
    first, second = svcmgrd.requests("remove")
    assert (first.stop, first.timeout_s, second.stop) == (True, 3.0, False)
