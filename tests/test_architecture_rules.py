"""The rules of tests/kit/rules.py can fail: a small package breaks every one of them, and only on purpose."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests import test_architecture as architecture
from tests.kit import diagrams, rules
from tests.kit.imports import Package, read_package
from tests.kit.rules import room

GOOD = {
    "__init__.py": '"""Top."""\nVERSION = "1"\n',
    "base.py": "import enum\n",
    "low/__init__.py": """
        from typing import TYPE_CHECKING, Any
        if TYPE_CHECKING:
            from house.low.engine import Engine as Engine
        _WHERE = {}
        __all__ = ["Engine"]
        def __getattr__(name: str) -> Any: ...
        """,
    "low/engine.py": "from house import base\n\nclass Engine:\n    def __init__(self, a, b): ...\n",
    "high/__init__.py": "",
    "high/shop.py": "from house.low import Engine\nfrom ..low.engine import Engine as E\nimport attrs\n",
}
FILES = {"base": "base.py", "util": "util.py", "engine": "low/engine.py", "door": "low/__init__.py"}
FILES |= {f"low_{n}": f"low/m{n}.py" for n in range(5)}
ROOMS = {"base": room(), "low": room("base"), "high": room("base low", "attrs")}


@pytest.fixture
def build(tmp_path):
    """Write the good package with some files changed, and read it."""

    def write(**changes: str) -> Package:
        files = {**GOOD, **{FILES[name]: text for name, text in changes.items()}}
        for name, text in files.items():
            path = tmp_path / "house" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return read_package(tmp_path / "house")

    return write


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "base"


def where(breaches: list[str]) -> list[str]:
    """``file:line`` of each breach, without directories."""
    return [":".join(Path(breach.split(": ")[0]).name.split(":")[:2]) for breach in breaches]


def test_a_good_house_has_no_breach(build):
    house = build()
    assert rules.unknown_rooms(house, room_of, ROOMS) == []
    assert rules.leaks(house, room_of, ROOMS) == []
    assert rules.third_party_leaks(house, room_of, ROOMS) == []
    assert rules.escapes(house, {"attrs": {"house.high"}}) == []
    assert rules.cycles(house) == []
    assert rules.impurities(house, {"house.low.engine", "house.base"}, {"os"}, {"house"}) == []
    assert rules.oversized(house, 9, 1, 2) == []
    assert rules.over_median(house, 1, 3) == []
    assert rules.busy_doors(house, ["VERSION"]) == []
    assert rules.misnamed_tables(house) == []
    assert rules.swallowers(house) == []
    assert rules.reaches(house, "house.low", lambda name: name.startswith("house.high")) == []


def test_a_module_without_room(build):
    assert where(rules.unknown_rooms(build(util="pass\n"), room_of, ROOMS)) == ["util.py:1"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import house.high.shop\n", 1),
        ("from house.high import shop\n", 1),
        ("from ..high import shop\n", 1),
        ("from house.high.shop import E\n", 1),
        ("def late():\n    from house import high\n", 2),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.high import shop\n", 3),
        ("from house.low.nowhere import X\nfrom house.lost import Y\n", 1),
    ],
)
def test_a_leak_between_rooms(build, text, line):
    found = rules.leaks(build(engine=text), room_of, ROOMS)
    if "lost" in text:  # both are in the house, neither is a module: the first is a name the door does not have
        assert where(found) == ["engine.py:1", "engine.py:2"]
    else:
        assert where(found) == [f"engine.py:{line}"]


def test_a_third_party_leak(build):
    house = build(engine="import json\nimport attrs\ndef f():\n    from numpy.linalg import det\n")
    assert where(rules.third_party_leaks(house, room_of, ROOMS)) == ["engine.py:2", "engine.py:4"]


def test_an_escape(build):
    house = build(engine="import importlib\nfrom importlib.metadata import entry_points\n")
    assert where(rules.escapes(house, {"importlib.metadata": {"house.base"}})) == ["engine.py:2"]
    assert rules.escapes(house, {"importlib.metadata": {"house.low"}}) == []


def test_cycles(build):
    assert rules.cycles(build(base="def f():\n    import house.low.engine\n")) == [
        "import cycle: house.base, house.low.engine"
    ]


def test_a_cycle_through_the_own_door(build):
    assert rules.cycles(build(engine="from house.low import Engine\n")) == ["import cycle: house.low, house.low.engine"]


def test_impurity(build):
    pure = {"house.low.engine"}
    assert where(rules.impurities(build(engine="import os.path\n"), pure, {"os"}, ())) == ["engine.py:1"]
    assert where(rules.impurities(build(engine="from house import base\n"), pure, {"os"}, ())) == ["engine.py:1"]
    assert rules.impurities(build(engine="from house import base\n"), pure, {"os"}, {"house.base"}) == []


def test_reaching_through_a_door(build):
    house = build(door="import house.low.engine\n", engine="def f():\n    import house.high.shop\n")
    (breach,) = rules.reaches(house, "house.low", lambda name: name == "house.high.shop")
    assert breach.endswith("house.low -> house.low.engine -> house.high.shop")
    assert "house.high" in house.loaded_by("house.low")


def test_sizes(build):
    house = build(engine="def f():\n    pass\n    pass\n\nclass A:\n    def __init__(self, a, *b, c, **d): ...\n")
    assert where(rules.oversized(house, 5, 80, 6)) == ["__init__.py:1", "engine.py:1"]
    assert where(rules.oversized(house, 400, 2, 6)) == ["engine.py:1"]
    assert where(rules.oversized(house, 400, 80, 3)) == ["engine.py:6"]
    assert rules.oversized(house, 400, 3, 4) == []


def test_medians(build):
    house = build(**{f"low_{n}": "def f():\n" + "    pass\n" * 9 for n in range(5)})
    assert len(rules.over_median(house, 9, 6)) == 2
    assert rules.over_median(house, 10, 10) == []


@pytest.mark.parametrize(
    "text", ["class A: ...\n", "def make(): ...\n", "x = 1\n", "print()\n", "if 1:\n    import os\n"]
)
def test_a_door_that_does_something(build, text):
    assert where(rules.busy_doors(build(door=text), ["VERSION"])) == ["__init__.py:1"]


def test_constants_only_at_the_top(build):
    assert where(rules.busy_doors(build(door="VERSION = 1\n"), ["VERSION"])) == ["__init__.py:1"]
    assert where(rules.busy_doors(build())) == ["__init__.py:2"]


def test_a_machine_under_another_name(build):
    house = build(engine="MACHINE: object = fsm.Table('m', 0, {})\nTABLE = Table('n', 0, {})\n")
    assert where(rules.misnamed_tables(house)) == ["engine.py:1"]


@pytest.mark.parametrize(
    ("clause", "body", "swallowed"),
    [
        ("except Exception", "pass", True),
        ("except (OSError, Exception)", "pass", True),
        ("except", "x = 1", True),
        ("except BaseException", "x = 1", True),
        ("except asyncio.CancelledError", "return", True),
        ("except Exception", "x = 1", False),
        ("except OSError", "pass", False),
        ("except BaseException", "raise", False),
    ],
)
def test_swallowing(build, clause, body, swallowed):
    house = build(engine=f"async def f():\n    try:\n        g()\n    {clause}:\n        {body}\n")
    assert where(rules.swallowers(house)) == ["engine.py:4"] * swallowed


def test_only_coroutines_are_cancelled(build):
    text = "async def f():\n  def g():\n    try:\n      h()\n    except CancelledError:\n      return\n"
    assert rules.swallowers(build(engine=text)) == []


def test_stale_diagrams(tmp_path):
    drawn = {"a.dot": "new", "b.dot": "same", "c.dot": "missing"}
    (tmp_path / "a.dot").write_text("old")
    (tmp_path / "b.dot").write_text("same")
    (tmp_path / "d.dot").write_text("no such machine")
    assert diagrams.stale(drawn, tmp_path) == ["a.dot", "c.dot", "d.dot"]
    diagrams.write(drawn, tmp_path)
    assert diagrams.stale(drawn, tmp_path) == []
    assert not (tmp_path / "d.dot").exists()


@pytest.mark.parametrize("words", ["see /wo" + "rk/x", "issue " + "#12", "a chat" + "bot", "TO" + "DO: later"])
def test_foreign_words(words):
    assert architecture.FOREIGN_WORDS.search(words)


@pytest.mark.parametrize("words", ["work/x", "todo = []", "the agent", "# 1", "/home/me/x"])
def test_own_words(words):
    assert not architecture.FOREIGN_WORDS.search(words)


@pytest.mark.parametrize(
    ("module", "home"),
    [
        ("svcmgr", "root"),
        ("svcmgr.fsm", "root"),
        ("svcmgr.util", "util"),
        ("svcmgr.proc.usage", "proc"),
        ("svcmgr.host.wire", "host.wire"),
        ("svcmgr.host.store", "host"),
        ("svcmgr.services", "services.door"),
        ("svcmgr.services.wire", "services.wire"),
        ("svcmgr.services.daemon", "services.host-side"),
        ("svcmgr.services.__main__", "services.daemonkit"),
        ("svcmgr.services.daemonkit.life", "services.daemonkit"),
        ("svcmgr.services.mgmtd", "services.door"),
        ("svcmgr.services.mgmtd.service", "services.host-side"),
        ("svcmgr.services.mgmtd.wire", "services.wire"),
        ("svcmgr.services.mgmtd.ops.heartbeat", "services.mgmtd"),
    ],
)
def test_rooms_of_modules(module, home):
    assert architecture.room_of(module) == home
