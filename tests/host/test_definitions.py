"""Definition files: every key, every error with file, line and key, and hostile content."""

from __future__ import annotations

import contextlib
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadDefinition, BadInput, SvcmgrError
from svcmgr.host.daemon import BUILTIN
from svcmgr.host.definitions import Definition, load, load_all, parse, save
from svcmgr.svc import BackoffSpec, Links, Readiness, Registry, Restart, ServiceSpec

REGISTRY = Registry(BUILTIN)

#: Every key with a value that is not its default, and the field that comes of it.
EVERY_KEY: dict[str, tuple[Any, str, Any]] = {
    "kind": ("daemon", "kind", "daemon"),
    "command": (["/bin/x", "-v"], "command", ("/bin/x", "-v")),
    "description": ("Serves.", "description", "Serves."),
    "cwd": ("/srv", "cwd", "/srv"),
    "env": ({"A": "1", "B": ""}, "env", {"A": "1", "B": ""}),
    "env_clean": (True, "env_clean", True),
    "user": ("nobody", "user", "nobody"),
    "group": ("nogroup", "group", "nogroup"),
    "umask": ("0077", "umask", 0o077),
    "nice": (-5, "nice", -5),
    "rlimits": (
        {"nofile": [10, 20], "core": "unlimited", "nproc": 7, "as": [5, "unlimited"]},
        "rlimits",
        {"nofile": (10, 20), "core": (-1, -1), "nproc": (7, 7), "as": (5, -1)},
    ),
    "restart": ("always", "restart", Restart.ALWAYS),
    "restart_delay": (0.5, "backoff", BackoffSpec(delay=0.5)),
    "restart_delay_max": (60, "backoff", BackoffSpec(delay_max=60)),
    "restart_intensity": (0, "backoff", BackoffSpec(intensity=0)),
    "restart_period": (10.0, "backoff", BackoffSpec(period=10.0)),
    "ready": ("tcp:localhost:80", "ready", Readiness.parse("tcp:localhost:80")),
    "start_timeout": (5, "start_timeout", 5),
    "stop_signal": ("INT", "stop_signal", "SIGINT"),
    "stop_grace": (0, "stop_grace", 0),
    "reload_signal": ("SIGHUP", "reload_signal", "SIGHUP"),
    "requires": (["db", "a@1", "db"], "links", Links(("db", "a@1"))),
    "after": (["log"], "links", Links((), ("log",))),
    "enabled": (False, "enabled", False),
    "watchdog": (30.0, "watchdog", 30.0),
    "hang_timeout": (2.5, "hang_timeout", 2.5),
    "log_max_bytes": (4096, "log_max_bytes", 4096),
    "log_keep": (0, "log_keep", 0),
    "cgroup": (False, "cgroup", False),
}


def file(place: Path, text: str | bytes, name: str = "web") -> Path:
    path = place / f"{name}.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(place: Path, text: str | bytes, name: str = "web") -> BadDefinition:
    with pytest.raises(BadDefinition) as caught:
        load(file(place, text, name), REGISTRY)
    assert caught.value.message.startswith("cannot use ")
    assert str(place / f"{name}.toml") in caught.value.message
    return caught.value


def test_the_table_above_has_every_key() -> None:
    assert set(EVERY_KEY) | {"options"} == set(Definition.__struct_fields__)


@pytest.mark.parametrize("key", EVERY_KEY)
def test_every_key_reaches_its_field(tmp_path: Path, key: str) -> None:
    value, field, expected = EVERY_KEY[key]
    path = save(tmp_path, "web", {"command": ["/bin/x"], key: value})
    spec = load(path, REGISTRY)
    assert getattr(spec, field) == expected
    assert spec.key == "web"
    assert spec.source == path


def test_all_keys_together_survive_save_and_load(tmp_path: Path) -> None:
    table = {key: value for key, (value, _, _) in EVERY_KEY.items()}
    path = save(tmp_path / "new", "web@1", table)
    assert tomllib.loads(path.read_text()) == table
    assert load(path, REGISTRY) == parse("web@1", table, REGISTRY)
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_left_out_comes_from_the_kind(tmp_path: Path) -> None:
    command = load(file(tmp_path, 'command = ["x"]'), REGISTRY)
    assert (str(command.ready), command.stop_grace, command.restart) == ("up:0.2", 10.0, Restart.ON_FAILURE)
    assert command.backoff == BackoffSpec()
    daemon = load(file(tmp_path, 'kind = "daemon"\ncommand = ["x"]'), REGISTRY)
    assert str(daemon.ready) == "ping"
    assert command == ServiceSpec("web", command=("x",), ready=Readiness.parse("up:0.2"))


def test_a_long_delay_raises_its_maximum(tmp_path: Path) -> None:
    assert load(file(tmp_path, 'command = ["x"]\nrestart_delay = 90'), REGISTRY).backoff.delay_max == 90


# --- errors --------------------------------------------------------------------------------------------------

BAD_VALUES = [
    ("kind", '"no-such-kind"', "no such kind"),
    ("kind", "7", "Expected `str`"),
    ("command", '"/bin/x -v"', "give an array of strings"),
    ("command", "[1]", "Expected `str`"),
    ("command", r'["a\u0000b"]', "NUL"),
    ("cwd", '"srv"', "absolute path"),
    ("cwd", r'"/a\u0000"', "absolute path"),
    ("env", '{"A=B" = "1"}', "cannot be a variable"),
    ("env", '{"" = "1"}', "cannot be a variable"),
    ("env", r'{A = "\u0000"}', "cannot be a variable"),
    ("env", "{A = 1}", "Expected `str`"),
    ("env_clean", '"yes"', "Expected `bool`"),
    ("user", "0", "Expected `str | null`"),
    ("umask", '"9"', "octal mask"),
    ("umask", '"01777"', "octal mask"),
    ("umask", "18", "Expected `str`"),
    ("nice", "20", "between -20 and 19"),
    ("nice", "1.5", "Expected `int | null`"),
    ("rlimits", "{nofile = -1}", "number >= 0"),
    ("rlimits", '{nofile = "lots"}', "number >= 0"),
    ("rlimits", "{nofile = [1]}", "[soft, hard]"),
    ("rlimits", "{nofile = [1, 2, 3]}", "[soft, hard]"),
    ("rlimits", "{nofile = [2, 1]}", "soft limit over the hard"),
    ("rlimits", '{nofile = ["unlimited", 1]}', "soft limit over the hard"),
    ("rlimits", "{nofiles = 1}", "nofiles"),
    ("restart", '"sometimes"', "Invalid enum value"),
    ("restart_delay", "-1", "restart delay"),
    ("restart_delay", "nan", "restart delay"),
    ("restart_delay_max", "0.1", "over the maximum"),
    ("restart_intensity", "-1", "restart intensity"),
    ("restart_period", "1e9", "restart period"),
    ("ready", '"often"', "cannot use readiness"),
    ("ready", '"ping"', "no socket to ping"),
    ("ready", "true", "Expected `str | null`"),
    ("start_timeout", "0", "between 0.01 and 86400"),
    ("start_timeout", "nan", "between 0.01 and 86400"),
    ("stop_signal", '"SIGNOTHING"', "not a signal name"),
    ("stop_signal", '"SIGSTOP"', "cannot end a process"),
    ("stop_signal", "15", "Expected `str`"),
    ("stop_grace", "inf", "between 0 and 86400"),
    ("reload_signal", '"HANGUP"', "not a signal name"),
    ("requires", '["../x"]', "cannot use '../x'"),
    ("requires", '"db"', "Expected `array`"),
    ("after", '[""]', "cannot use ''"),
    ("enabled", "1", "Expected `bool`"),
    ("watchdog", "-0.1", "between 0 and 86400"),
    ("hang_timeout", "nan", "between 0 and 86400"),
    ("log_max_bytes", "100", "between 4096"),
    ("log_max_bytes", "99999999999999999", "between 4096"),
    ("log_keep", "-1", "between 0 and 1000"),
    ("cgroup", '"no"', "Expected `bool`"),
    ("options", "{x = 1}", "takes no options"),
]


@pytest.mark.parametrize(("key", "value", "why"), BAD_VALUES, ids=[f"{k}={v}"[:40] for k, v, _ in BAD_VALUES])
def test_a_bad_value_is_told_with_file_line_and_key(tmp_path: Path, key: str, value: str, why: str) -> None:
    first = "" if key == "command" else 'command = ["/bin/x"]\n'
    error = refused(tmp_path, f"# a comment\n\n{first}{key} = {value}\n")
    line = 3 + bool(first)
    assert f"{tmp_path / 'web.toml'}:{line}:" in error.message
    assert (error.details["line"], error.details["key"]) == (line, key)
    assert f"'{key}'" in error.message
    assert why in error.message


def test_every_key_has_a_bad_value() -> None:
    free = {"description", "group"}  # any text will do
    assert {key for key, _, _ in BAD_VALUES} == set(Definition.__struct_fields__) - free


def test_an_unknown_key_is_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    error = refused(tmp_path, 'command = ["x"]\nstop_grase = 5\n')
    assert error.details["line"] == 2
    assert "unknown key 'stop_grase', did you mean 'stop_grace'?" in error.message
    assert "known keys: kind, command" in refused(tmp_path, 'command = ["x"]\nzzz = 5\n').message


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ('command = ["x"]\n[env]\nA = 1\n', 2, "env"),
        ('command = ["x"]\nenv.A = 1\n', 2, "env"),
        ('command = ["x"]\n  "nice" = 99\n', 2, "nice"),
        ('command = ["x"]\n[rlimits]\nnofile = -4\n', 2, "rlimits"),
        ('[env]\nnice = "5"\n[options]\nnice = 2\n', 3, "options"),
    ],
)
def test_the_line_is_that_of_the_key_however_it_is_written(tmp_path: Path, text: str, line: int, key: str) -> None:
    if not text.startswith("command"):
        text = 'command = ["x"]\n' + text
        line += 1
    error = refused(tmp_path, text)
    assert (error.details["line"], error.details["key"]) == (line, key)


def test_a_command_is_needed(tmp_path: Path) -> None:
    for kind in ("command", "daemon"):
        assert "needs a command" in refused(tmp_path, f'kind = "{kind}"\n').message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('command = ["x"]\nnice = = 3\n', ":2:8:"),
        ('command = ["x"]\nnice = 3\nnice = 4\n', ":3:"),
        ('command = ["x"\n', ":"),
        ("command\n", ":1:8:"),
        ('command = ["x"]\nuser = "open\n', ":2:"),
    ],
)
def test_broken_toml_is_told_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    assert f"web.toml{where}" in refused(tmp_path, text).message


@pytest.mark.parametrize("name", ["-web", "a b", "a@", "@a", "a@b@c", "x" * 101, ".hidden"])
def test_a_file_whose_name_is_no_service_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SvcmgrError, match="cannot use"):
        load(file(tmp_path, 'command = ["x"]', name), REGISTRY)


# --- hostile files -------------------------------------------------------------------------------------------


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = file(tmp_path, b'command = ["x"]\n' + b"#" * 300_000)
    with pytest.raises(BadInput, match="larger than 262144"):
        load(path, REGISTRY)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b'command = ["\xff"]',
        b"\0",
        b"a" * 200_000,
        b"[" * 100_000,
        b"x = " + b"[" * 100_000,
        b"x = " + b"{a=" * 20_000,
        b"a." * 2_000 + b"b = 1",
        b'command = ["x"]\nx = ' + b"9" * 5_000,
        b"\xef\xbb\xbf" + b'command = ["x"]',
        b"command = 1979-05-27T07:32:00Z",
    ],
    ids=lambda c: repr(c[:12]),
)
def test_hostile_content_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content)


def test_a_thousand_services_in_one_value_are_still_one_definition(tmp_path: Path) -> None:
    names = [f"s{n}" for n in range(5000)]
    path = save(tmp_path, "web", {"command": ["x"], "requires": names})
    assert len(load(path, REGISTRY).links.requires) == 5000


@pytest.mark.parametrize("kind", ["directory", "fifo", "dangling", "unreadable", "loop"])
def test_what_is_no_file_hurts_no_other(tmp_path: Path, kind: str) -> None:
    file(tmp_path, 'command = ["x"]', "good")
    path = tmp_path / "odd.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("/no/such/file")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        file(tmp_path, "nonsense", "odd")
    specs, invalid = load_all(tmp_path, REGISTRY)
    assert set(specs) == {"good"}
    assert set(invalid) == {"odd"}
    assert str(path) in invalid["odd"]


def test_other_files_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("web.toml~", ".web.toml.swp", "README", "web.toml.rpmsave"):
        (tmp_path / name).write_text("nonsense")
    assert load_all(tmp_path, REGISTRY) == ({}, {})
    assert load_all(tmp_path / "missing", REGISTRY) == ({}, {})


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(table=st.dictionaries(st.sampled_from([*Definition.__struct_fields__, "x"]), JSONISH, max_size=5))
def test_any_table_is_a_definition_or_refused(table: dict[str, Any]) -> None:
    """What comes over the wire has the shape of a table, and nothing else is known about it."""
    with contextlib.suppress(BadInput):
        assert parse("web", table, REGISTRY).digest


def test_saving_leaves_out_what_is_null(tmp_path: Path) -> None:
    path = save(tmp_path, "web", {"command": ["x"], "user": None})
    assert tomllib.loads(path.read_text()) == {"command": ["x"]}


def test_saving_refuses_what_toml_cannot_say(tmp_path: Path) -> None:
    """A null within a value from the wire has no place in TOML; the file of before stays."""
    save(tmp_path, "web", {"command": ["x"]})
    with pytest.raises(BadDefinition, match="cannot store the definition of web"):
        save(tmp_path, "web", {"command": ["x"], "options": {"deep": [None]}})
    assert tomllib.loads((tmp_path / "web.toml").read_text()) == {"command": ["x"]}
    assert [p.name for p in tmp_path.iterdir()] == ["web.toml"]
