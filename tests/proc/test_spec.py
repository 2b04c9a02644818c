"""Descriptions: what is refused, and that the refusal names the field."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.proc.identity import Identity
from svcmgr.proc.spec import RLIMITS, Marker, ProcSpec, StopPlan
from svcmgr.proc.tree import Tree, marker_in, spawned

LOG = {"logdir": Path("/l"), "logfile": Path("/l/x")}


def make(**changes: Any) -> ProcSpec:
    return ProcSpec(**{"name": "a", "argv": ("prog",), **LOG, **changes})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a/b"),
        ("name", "a@"),
        ("name", ".."),
        ("argv", ()),
        ("argv", ("",)),
        ("argv", ("a", "b\0c")),
        ("env", {"": "x"}),
        ("env", {"A=B": "x"}),
        ("env", {"A": "x\0y"}),
        ("cwd", Path("relative")),
        ("cwd", Path("/a\0b")),
        ("logdir", Path("relative")),
        ("logfile", Path("relative")),
        ("pidfile", Path("relative")),
        ("volfile", Path("relative")),
        ("cgroup", Path("relative")),
        ("umask", -1),
        ("umask", 0o1000),
        ("nice", -21),
        ("nice", 20),
        ("rlimits", {"files": (1, 1)}),
        ("rlimits", {"nofile": (2, 1)}),
        ("rlimits", {"nofile": (-1, 1)}),
        ("rlimits", {"nofile": (-2, -1)}),
        ("log_max_bytes", -1),
        ("log_keep", -1),
        ("write_pidfile", True),
    ],
)
def test_refusals_name_the_field(field: str, value: object) -> None:
    with pytest.raises(BadInput) as caught:
        make(**{field: value})
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith("cannot ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal", 0),
        ("signal", 99),
        ("signal", signal.SIGSTOP),
        ("signal", signal.SIGCONT),
        ("grace_s", -0.1),
        ("grace_s", float("nan")),
        ("grace_s", float("inf")),
        ("kill_deadline_s", 1e9),
        ("leftover_grace_s", -1),
    ],
)
def test_stop_plans_are_checked(field: str, value: object) -> None:
    with pytest.raises(BadInput) as caught:
        StopPlan(**{field: value})  # type: ignore[arg-type]
    assert caught.value.details["field"] == field


@pytest.mark.parametrize("changes", [{"forks": True}, {"pidfile": None}])
def test_writing_the_pidfile_of_a_forking_program_is_refused(changes: dict[str, Any]) -> None:
    assert make(pidfile=Path("/p"), write_pidfile=True).write_pidfile
    with pytest.raises(BadInput):
        make(**{"pidfile": Path("/p"), "write_pidfile": True, **changes})


@given(st.sampled_from(sorted(RLIMITS)), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_limits_in_order_are_taken(name: str, one: int, two: int) -> None:
    soft, hard = sorted((one, two))
    assert make(rlimits={name: (soft, hard)}).rlimits == {name: (soft, hard)}
    assert make(rlimits={name: (soft, -1), "core": (-1, -1)}).rlimits[name] in ((soft, -1), (-1, -1))


def test_every_limit_exists_in_the_kernel_interface() -> None:
    import resource

    assert all(hasattr(resource, f"RLIMIT_{name.upper()}") for name in RLIMITS)


def test_equal_specs_are_equal_and_frozen() -> None:
    env = {"A": "1"}
    spec = make(env=env)
    env["A"] = "2"
    assert spec.env == {"A": "1"}
    assert spec == make(env={"A": "1"})
    assert spec != make(env={"A": "2"})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spec.name = "b"  # type: ignore[misc]


def test_marker_needs_both_variables() -> None:
    assert make().marker is None
    assert make(env={"SVCMGR_SERVICE": "a"}).marker is None
    assert make(env={"SVCMGR_SERVICE": "a", "SVCMGR_ROOT": "/r"}).marker == Marker("a", "/r")


@pytest.mark.parametrize(
    ("block", "marker"),
    [
        (b"", None),
        (b"A=1\0", None),
        (b"SVCMGR_SERVICE=a\0", None),
        (b"SVCMGR_SERVICE=a\0SVCMGR_ROOT=/r\0", Marker("a", "/r")),
        (b"X=1\0SVCMGR_ROOT=/r\0SVCMGR_SERVICE=a@b", Marker("a@b", "/r")),
        (b"SVCMGR_SERVICE=a\0SVCMGR_ROOT=/r\0SVCMGR_SERVICE=z\0SVCMGR_ROOT=/z\0", Marker("a", "/r")),
        (b"XSVCMGR_SERVICE=a\0SVCMGR_ROOT=/r\0", None),
        (b"SVCMGR_SERVICE=\0SVCMGR_ROOT=/r\0", None),
        (b"\xff\xfe\0SVCMGR_SERVICE=a\0SVCMGR_ROOT=/\xff\0", Marker("a", "/\udcff")),
    ],
)
def test_marker_in_an_environment(block: bytes, marker: Marker | None) -> None:
    assert marker_in(block) == marker


MAIN = Identity(100, 1000, "boot")
OURS, OTHER = Marker("a", "/r"), Marker("b", "/r")


@pytest.mark.parametrize(
    ("ticks", "session", "mark", "belongs"),
    [
        (1001, 100, None, True),
        (1001, 100, OURS, True),
        (1001, 5, OURS, True),
        (1001, 5, None, False),
        # Another service's child in our session: a supervisor among our services started it.
        (1001, 100, OTHER, False),
        (1001, 5, OTHER, False),
        (1001, 100, Marker("a", "/other-root"), False),
        # Older than we are: the number of the session has had another owner.
        (999, 100, None, False),
    ],
)
def test_who_belongs_to_a_tree(ticks: int, session: int, mark: Marker | None, belongs: bool) -> None:
    who = Identity(101, ticks, "boot")
    tree = spawned(MAIN, OURS)
    assert tree.belongs(who, session, mark) is belongs
    assert attrs.evolve(tree, remembered=frozenset({who})).belongs(who, session, mark)


def test_without_a_marker_only_the_session_counts() -> None:
    tree = Tree(MAIN, MAIN.start_ticks, frozenset({100}))
    assert tree.belongs(Identity(101, 1001, "boot"), 100, OTHER)
    assert not tree.belongs(Identity(101, 1001, "boot"), 101, OTHER)
