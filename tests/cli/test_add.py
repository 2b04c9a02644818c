"""``add``: the definition that reaches svcmgrd, and what never gets that far."""

from __future__ import annotations

import os

import pytest

from svcmgr.errors import AlreadyExists, BadDefinition
from svcmgr.host.wire import Outcome


@pytest.fixture(autouse=True)
def answer(svcmgrd):
    svcmgrd.actions("add", Outcome("web", "added"))


def test_everything_after_the_dashes_is_the_command(svcmgrd, svcmgr):
    assert svcmgr("add", "web", "--", "/bin/prog", "--json", "-x", "a b").code == 0
    (request,) = svcmgrd.requests("add")
    assert request.name == "web"
    assert request.definition == {"kind": "command", "command": ["/bin/prog", "--json", "-x", "a b"]}
    assert (request.start, request.replace, request.timeout_s) == (False, False, 60.0)


def test_every_option_becomes_its_key(svcmgrd, svcmgr):
    options = (
        "--kind command --description text --cwd /srv --env A=1 --env B=2 --user 0 --group 0 --umask 027 --nice -5 "
        "--rlimit nofile=10:20 --restart on-failure --restart-delay 0.5 --ready tcp:localhost:80 --start-timeout 3 "
        "--stop-signal int --stop-grace 4 --requires a --requires b@1 --after c --enable --start --replace --timeout 9"
    )
    assert svcmgr("add", "web", *options.split(), "--", "./prog").code == 0
    (request,) = svcmgrd.requests("add")
    assert request.definition == {
        "kind": "command",
        "command": ["./prog"],
        "description": "text",
        "cwd": "/srv",
        "env": {"A": "1", "B": "2"},
        "user": "0",
        "group": "0",
        "umask": "0027",
        "nice": -5,
        "rlimits": {"nofile": [10, 20]},
        "restart": "on-failure",
        "restart_delay": 0.5,
        "ready": "tcp:localhost:80",
        "start_timeout": 3.0,
        "stop_signal": "SIGINT",
        "stop_grace": 4.0,
        "requires": ["a", "b@1"],
        "after": ["c"],
        "enabled": True,
    }
    assert (request.start, request.replace, request.timeout_s) == (True, True, 9.0)


def test_a_relative_cwd_counts_from_the_caller(svcmgrd, svcmgr, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert svcmgr("add", "web", "--cwd", "sub", "--no-enable", "--", "x").code == 0
    definition = svcmgrd.requests("add")[0].definition
    assert definition["cwd"] == os.path.join(tmp_path, "sub")
    assert definition["enabled"] is False


def test_a_file_with_options_over_it(svcmgrd, svcmgr, tmp_path):
    file = tmp_path / "web.toml"
    file.write_text('command = ["/bin/a", "1"]\nwatchdog = 5\nnice = 3\n[env]\nA = "1"\nB = "2"\n')
    assert svcmgr("add", "web", "--file", str(file), "--nice", "0", "--env", "B=3").code == 0
    assert svcmgrd.requests("add")[0].definition == {
        "kind": "command",
        "command": ["/bin/a", "1"],
        "watchdog": 5,
        "nice": 0,
        "env": {"A": "1", "B": "3"},
    }


@pytest.mark.parametrize(
    "args",
    [
        ["web"],
        ["../web", "--", "/bin/a"],
        ["web", "--env", "A", "--", "/bin/a"],
        ["web", "--umask", "9", "--", "/bin/a"],
        ["web", "--nice", "20", "--", "/bin/a"],
        ["web", "--restart", "sometimes", "--", "/bin/a"],
        ["web", "--rlimit", "nofile=x", "--", "/bin/a"],
        ["web", "--ready", "maybe", "--", "/bin/a"],
        ["web", "--stop-signal", "NOPE", "--", "/bin/a"],
        ["web", "--stop-grace", "-1", "--", "/bin/a"],
        ["web", "--user", "no-such-user-here", "--", "/bin/a"],
        ["web", "--requires", "a b", "--", "/bin/a"],
        ["web", "--file", "/does/not/exist", "--", "/bin/a"],
        ["web", "--", "./relative"],
        ["web", "--", ""],
        ["web", "--nonsense", "--", "/bin/a"],
        [],
    ],
)
def test_what_can_be_checked_here_never_reaches_svcmgrd(svcmgrd, svcmgr, args):
    result = svcmgr("add", *args)
    assert result.code == 2
    assert result.err
    assert svcmgrd.requests("add") == []


def test_env_of_a_file_must_be_a_table(svcmgrd, svcmgr, tmp_path):
    file = tmp_path / "web.toml"
    file.write_text('command = ["/bin/a"]\nenv = "A=1"\n')
    assert svcmgr("add", "web", "--file", str(file)).code == 2
    assert svcmgrd.requests("add") == []


@pytest.mark.parametrize(("error", "code"), [(BadDefinition("cannot use x"), 2), (AlreadyExists("cannot add web"), 1)])
def test_what_svcmgrd_refuses(svcmgrd, svcmgr, error, code):
    svcmgrd.answers["add"] = error
    assert svcmgr("add", "web", "--", "/bin/a").code == code
