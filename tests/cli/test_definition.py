"""What ``add`` refuses without asking anybody, and the definition it makes of the rest."""

from __future__ import annotations

import os
import pwd

import pytest

from svcmgr.cli import definition
from svcmgr.errors import BadDefinition, BadInput


def test_env_pairs_become_a_table():
    assert definition.env_table(["A=1", "B=x=y", "C=", "A=2"]) == {"A": "2", "B": "x=y", "C": ""}


@pytest.mark.parametrize("pair", ["A", "=1", "", "A=\0"])
def test_env_without_name_or_value_is_refused(pair):
    with pytest.raises(BadInput):
        definition.env_table([pair])


def test_rlimits_become_soft_and_hard():
    table = definition.rlimit_table(["nofile=1024:4096", "RLIMIT_CORE=0", "as=100:unlimited", "data=unlimited"])
    assert table == {
        "nofile": [1024, 4096],
        "core": [0, 0],
        "as": [100, "unlimited"],
        "data": ["unlimited", "unlimited"],
    }


@pytest.mark.parametrize("pair", ["nofile", "files=1", "nofile=-1", "nofile=x", "nofile=5:4", "core=unlimited:1", "=1"])
def test_impossible_rlimits_are_refused(pair):
    with pytest.raises(BadInput):
        definition.rlimit_table([pair])


@pytest.mark.parametrize(("text", "value"), [("022", "0022"), ("0", "0000"), ("0o77", "0077"), ("777", "0777")])
def test_umask_is_octal(text, value):
    assert definition.umask_text(text) == value


@pytest.mark.parametrize("text", ["8", "1000", "-1", "", "rwx"])
def test_other_umasks_are_refused(text):
    with pytest.raises(BadInput):
        definition.umask_text(text)


@pytest.mark.parametrize("text", ["TERM", "sigterm", "15", "SIGTERM"])
def test_signals_have_one_spelling(text):
    assert definition.signal_name(text, "--stop-signal") == "SIGTERM"


@pytest.mark.parametrize("text", ["0", "999", "SIGNOPE", "", "SIG_DFL"])
def test_unknown_signals_are_refused(text):
    with pytest.raises(BadInput):
        definition.signal_name(text, "--stop-signal")


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "ping",
        "notify",
        "up:0.5",
        "pidfile:/run/x",
        "tcp:[::1]:80",
        "tcp:localhost:1",
        "unix:/s",
        "command:true",
    ],
)
def test_ready_rules_are_accepted(text):
    assert definition.ready_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "command: ",
        *[
            "none:1",
            "up",
            "up:x",
            "up:-1",
            "up:inf",
            "up:nan",
            "pidfile:rel",
            "tcp:80",
            "tcp:h:0",
            "tcp:h:65536",
            "tcp::80",
            "x:y",
        ],
    ],
)
def test_other_ready_rules_are_refused(text):
    with pytest.raises(BadInput):
        definition.ready_text(text)


def test_a_relative_command_needs_a_directory():
    assert definition.check_command(["prog", "./x"], None) == ["prog", "./x"]
    assert definition.check_command(["./prog"], "/srv") == ["./prog"]
    with pytest.raises(BadInput):
        definition.check_command(["./prog"], None)
    with pytest.raises(BadInput):
        definition.check_command(["", "x"], None)


def test_owners_are_looked_up():
    me = pwd.getpwuid(os.getuid()).pw_name
    assert definition.check_owner(me, group=False) == me
    assert definition.check_owner("12345", group=True) == "12345"
    for group in (False, True):
        with pytest.raises(BadInput):
            definition.check_owner("no-such-owner-here", group=group)


def test_a_file_is_the_base_and_options_win(tmp_path):
    file = tmp_path / "web.toml"
    file.write_text('command = ["/bin/a"]\nrestart = "never"\n[env]\nA = "1"\n')
    base = definition.read_file(str(file))
    built = definition.build(base, {"restart": "always", "nice": 0, "cwd": None, "requires": [], "enabled": False})
    assert built == {
        "kind": "command",
        "command": ["/bin/a"],
        "restart": "always",
        "env": {"A": "1"},
        "nice": 0,
        "enabled": False,
    }


@pytest.mark.parametrize("content", [b'command = "/bin/sleep 1"\n', b"command = [", b"a = '\xff'", b""])
def test_a_bad_file_is_refused(tmp_path, content):
    file = tmp_path / "web.toml"
    file.write_bytes(content)
    with pytest.raises(BadInput):
        definition.build(definition.read_file(str(file)), {})


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(BadInput):
        definition.read_file(str(tmp_path / name))


def test_toml_errors_carry_line_and_file(tmp_path):
    file = tmp_path / "web.toml"
    file.write_text("a = 1\nb = = 2\n")
    with pytest.raises(BadDefinition) as caught:
        definition.read_file(str(file))
    assert "line 2" in caught.value.message
    assert str(file) in caught.value.message


def test_other_kinds_need_no_command():
    assert definition.build({}, {"kind": "daemon"}) == {"kind": "daemon"}
    with pytest.raises(BadInput):
        definition.build({}, {})
