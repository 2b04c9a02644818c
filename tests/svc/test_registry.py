"""Kinds: built in, from other packages, broken, and named directly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcmgr.errors import UnknownKind
from svcmgr.host.daemon import BUILTIN
from svcmgr.services.command.service import CommandService
from svcmgr.svc import Registry

PLUGIN = '''
from svcmgr.svc import Service

class Good(Service):
    """Does good.

    And more.
    """
    kind = "good"

class NoService:
    pass
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with an installed package of somebody else that registers kinds."""
    info = tmp_path / "kinds_for_tests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kinds-for-tests\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[svcmgr.services]\n"
        "good = kinds_for_tests:Good\n"
        "gone = kinds_for_tests:Gone\n"
        "plain = kinds_for_tests:NoService\n"
        "broken = kinds_broken_for_tests:Kind\n"
        "absent = kinds_absent_for_tests:Kind\n"
        "command = kinds_for_tests:Good\n"
    )
    (tmp_path / "kinds_for_tests.py").write_text(PLUGIN)
    (tmp_path / "kinds_broken_for_tests.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("kinds_for_tests", "kinds_broken_for_tests"):
        sys.modules.pop(name, None)


def test_built_in_kinds_need_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: pytest.fail("scanned"))
    assert Registry(BUILTIN).find("command") is CommandService


def test_a_kind_of_another_package(site: Path) -> None:
    registry = Registry(BUILTIN)
    assert registry.find("good").kind == "good"
    assert registry.find("good") is registry.find("good")


def test_a_built_in_kind_cannot_be_taken_over(site: Path) -> None:
    assert Registry(BUILTIN).find("command") is CommandService


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone", "AttributeError"),
        ("plain", "not a subclass of svcmgr.svc.Service"),
        ("broken", "ZeroDivisionError"),
        ("absent", "ModuleNotFoundError"),
    ],
)
def test_a_kind_that_cannot_be_loaded_says_why(site: Path, name: str, why: str) -> None:
    with pytest.raises(UnknownKind, match=why) as caught:
        Registry(BUILTIN).find(name)
    assert caught.value.message.startswith(f"cannot use kind {name!r}: ")


def test_a_broken_kind_hurts_no_other(site: Path) -> None:
    kinds = {kind.name: kind for kind in Registry(BUILTIN).kinds()}
    assert {"absent", "broken", "command", "daemon", "gone", "good", "plain"} <= set(kinds)
    assert kinds["good"].summary == "Does good."
    assert kinds["good"].error == ""
    assert kinds["broken"].summary == ""
    assert "ZeroDivisionError" in kinds["broken"].error


def test_a_mended_kind_is_found_without_a_restart(site: Path) -> None:
    registry = Registry(BUILTIN)
    with pytest.raises(UnknownKind):
        registry.find("broken")
    (site / "kinds_broken_for_tests.py").write_text(PLUGIN.replace("Good", "Kind") + "# a longer file\n")
    assert registry.find("broken").kind == "good"


def test_a_kind_named_directly(site: Path) -> None:
    assert Registry(BUILTIN).find("kinds_for_tests:Good").kind == "good"


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match=r"known are .*command.*daemon") as caught:
        Registry(BUILTIN).find("comand")
    assert {"command", "daemon"} <= set(caught.value.details["known"])


@pytest.mark.parametrize("name", ["", ":", "os:", ":path", "os:path", "no.such.module:X", "..:x", "a b:c"])
def test_nonsense_names_are_refused(name: str) -> None:
    with pytest.raises(UnknownKind):
        Registry(BUILTIN).find(name)
