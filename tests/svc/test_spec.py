"""The description of a service: readiness rules, digest, comparison."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.svc.backoff import BackoffSpec
from svcmgr.svc.graph import Links
from svcmgr.svc.lifecycle import Restart
from svcmgr.svc.spec import LIVE_FIELDS, PROCESS_FIELDS, Readiness, ReadyKind, ServiceSpec, changed_fields


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("none", Readiness(ReadyKind.NONE)),
        ("ping", Readiness(ReadyKind.PING)),
        ("notify", Readiness(ReadyKind.NOTIFY)),
        ("up:0", Readiness(ReadyKind.UP)),
        ("up:2.5", Readiness(ReadyKind.UP, seconds=2.5)),
        ("pidfile:/run/x.pid", Readiness(ReadyKind.PIDFILE, "/run/x.pid")),
        ("unix:/run/x:y.sock", Readiness(ReadyKind.UNIX, "/run/x:y.sock")),
        ("tcp:localhost:80", Readiness(ReadyKind.TCP, "localhost", 80)),
        ("tcp:[::1]:65535", Readiness(ReadyKind.TCP, "::1", 65535)),
        ("command:curl -f http://x:1/", Readiness(ReadyKind.COMMAND, "curl -f http://x:1/")),
    ],
)
def test_rules_are_read_and_written(text: str, rule: Readiness) -> None:
    assert Readiness.parse(text) == rule
    assert str(rule) == text
    assert rule.kind.waits == (text != "none")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sometimes",
        "UP:1",
        "none:x",
        "ping:/run/x",
        "notify:",
        "up",
        "up:",
        "up:soon",
        "up:-1",
        "up:3601",
        "up:nan",
        "up:inf",
        "pidfile:",
        "pidfile:run/x.pid",
        "unix:x",
        "tcp:80",
        "tcp:localhost",
        "tcp:localhost:",
        "tcp::80",
        "tcp:localhost:0",
        "tcp:localhost:65536",
        "tcp:localhost:http",
        "tcp:localhost:-1",
        "command:",
        "command:  ",
        "command:''",
        "command:echo 'open",
        "command:a\0b",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    if text == "notify:":
        assert Readiness.parse(text) == Readiness(ReadyKind.NOTIFY)
        return
    with pytest.raises(BadInput, match="cannot use readiness"):
        Readiness.parse(text)


RULES = st.one_of(
    st.sampled_from([Readiness(k) for k in (ReadyKind.NONE, ReadyKind.PING, ReadyKind.NOTIFY)]),
    st.integers(0, 3600).map(lambda s: Readiness(ReadyKind.UP, seconds=float(s))),
    st.builds(
        lambda host, port: Readiness(ReadyKind.TCP, host, port),
        st.sampled_from(["localhost", "10.0.0.1", "::1", "fe80::1"]),
        st.integers(1, 65535),
    ),
    st.builds(
        lambda kind, tail: Readiness(kind, "/" + tail),
        st.sampled_from([ReadyKind.PIDFILE, ReadyKind.UNIX]),
        st.text(min_size=1, max_size=20),
    ),
    st.text("ab /.-", min_size=1, max_size=20).map(lambda line: Readiness(ReadyKind.COMMAND, f"x{line}")),
)


@settings(max_examples=100, deadline=None)
@given(rule=RULES)
def test_every_rule_comes_back_as_it_was(rule: Readiness) -> None:
    assert Readiness.parse(str(rule)) == rule


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    with contextlib.suppress(BadInput):
        Readiness.parse(text)


# --- digest and comparison -----------------------------------------------------------------------------------

#: One other value for every field.
OTHER: dict[str, Any] = {
    "cgroup": True,
    "kind": "daemon",
    "command": ("/bin/false",),
    "description": "else",
    "cwd": "/tmp",
    "env": {"A": "2"},
    "env_clean": True,
    "user": "nobody",
    "group": "nogroup",
    "umask": 0o077,
    "nice": 5,
    "rlimits": {"nofile": (10, 20)},
    "restart": Restart.ALWAYS,
    "backoff": BackoffSpec(1.0),
    "ready": Readiness(ReadyKind.UP, seconds=1.0),
    "start_timeout": 31.0,
    "stop_signal": "SIGINT",
    "stop_grace": 11.0,
    "reload_signal": "SIGHUP",
    "links": Links(("b",)),
    "enabled": False,
    "watchdog": 1.0,
    "hang_timeout": 1.0,
    "log_max_bytes": 4096,
    "log_keep": 6,
    "options": {"x": 1},
}
BASE = ServiceSpec("a", command=("/bin/true",), env={"A": "1"})


def test_every_field_is_either_live_or_needs_a_process() -> None:
    names = {a.name for a in attrs.fields(ServiceSpec)}
    assert names == PROCESS_FIELDS | LIVE_FIELDS | {"key", "source"}
    assert not PROCESS_FIELDS & LIVE_FIELDS
    assert set(OTHER) == PROCESS_FIELDS | LIVE_FIELDS


@pytest.mark.parametrize("name", sorted(OTHER))
def test_the_digest_changes_with_what_needs_a_process_alone(name: str) -> None:
    changed = attrs.evolve(BASE, **{name: OTHER[name]})
    assert (changed.digest != BASE.digest) == (name in PROCESS_FIELDS)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_changed_field_is_named_with_both_values(name: str) -> None:
    changed = attrs.evolve(BASE, **{name: OTHER[name]})
    assert changed_fields(BASE, changed) == {name: (getattr(BASE, name), OTHER[name])}
    assert changed_fields(changed, BASE) == {name: (OTHER[name], getattr(BASE, name))}


def test_nothing_changed() -> None:
    assert changed_fields(BASE, attrs.evolve(BASE, source=Path("/elsewhere"))) == {}
    assert attrs.evolve(BASE, source=Path("/elsewhere")) == BASE


def test_the_digest_is_the_same_in_every_version_and_run() -> None:
    """It is compared with that of a process which an earlier svcmgrd started, so it must not depend on the run."""
    spec = attrs.evolve(BASE, env={"B": "2", "A": "1"}, options={"y": [{"q": 1, "p": [1, 2]}], "x": True})
    swapped = attrs.evolve(BASE, env={"A": "1", "B": "2"}, options={"x": True, "y": [{"p": [1, 2], "q": 1}]})
    assert spec.digest == swapped.digest
    assert BASE.digest == "acd9825384a12b64"
    assert len(spec.digest) == 16


def test_the_digest_does_not_confuse_neighbours() -> None:
    one = attrs.evolve(BASE, command=("a", "b"))
    two = attrs.evolve(BASE, command=("a b",))
    three = attrs.evolve(BASE, command=("a", "b"), env={"A": "1", "B": ""})
    assert len({one.digest, two.digest, three.digest}) == 3


@pytest.mark.parametrize(("key", "instance"), [("a", None), ("a@1", "1"), ("snapd@vol.1", "vol.1")])
def test_the_instance_is_behind_the_at(key: str, instance: str | None) -> None:
    assert ServiceSpec(key).instance == instance
