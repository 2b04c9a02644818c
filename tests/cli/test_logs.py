"""``logs``: bytes of one service as they are, lines of several with their names, JSON, following."""

from __future__ import annotations

import json
import sys
import types

import pytest

from svcmgr.cli.logs import LINE_MAX, Printer, split
from svcmgr.errors import UnknownService
from svcmgr.host.wire import ServiceRow


class Files:
    """Canned logs of services, in the place of the room that reads them."""

    def __init__(self):
        self.tails = {"web": b"one\ntwo\n", "db": b"bin\xff\rary\nhalf"}
        self.chunks = []
        self.asked = []

    def status(self, layout):
        return [ServiceRow(name, "command", "up", "running", "online", 0.0) for name in self.tails]

    def log_tail(self, layout, names, lines):
        self.asked.append((names, lines))
        for name in names:
            if name not in self.tails:
                raise UnknownService(f"cannot find service {name!r}", near=list(self.tails))
        return {name: self.tails[name] for name in names}

    def follow(self, layout, names, lines):
        yield from self.log_tail(layout, names, lines).items()
        yield from self.chunks


@pytest.fixture(autouse=True)
def files(monkeypatch):
    files = Files()
    module = types.ModuleType("svcmgr.host.offline")
    module.status, module.log_tail, module.follow = files.status, files.log_tail, files.follow
    monkeypatch.setitem(sys.modules, "svcmgr.host.offline", module)
    return files


def test_one_log_is_printed_byte_by_byte(svcmgr, capfdbinary, root):
    from svcmgr.cli.main import run

    assert run(["--root", str(root), "logs", "db"]) == 0
    assert capfdbinary.readouterr().out == b"bin\xff\rary\nhalf"


def test_several_logs_have_names_and_whole_lines(svcmgr, capfdbinary, root):
    from svcmgr.cli.main import run

    assert run(["--root", str(root), "logs", "web", "db"]) == 0
    assert capfdbinary.readouterr().out == b"web: one\nweb: two\ndb: bin\xff\rary\ndb: half\n"


def test_globs_are_expanded_and_names_come_once(svcmgr, files):
    assert svcmgr("logs", "w*", "web", "-n", "3").code == 0
    assert files.asked == [(["web"], 3)]
    assert svcmgr("logs", "x*").code == 2


def test_json(svcmgr):
    result = svcmgr("logs", "web", "db", "--json")
    assert result.json == {
        "logs": [{"name": "web", "lines": ["one", "two"]}, {"name": "db", "lines": ["bin\\xff\rary", "half"]}]
    }


def test_an_unknown_service_is_usage(svcmgr):
    result = svcmgr("logs", "wbe")
    assert result.code == 2
    assert "web" in result.err


def test_following_joins_pieces_of_lines(svcmgr, files):
    files.chunks = [("db", b"-done\nx"), ("web", b"three\n"), ("db", b"y\n")]
    result = svcmgr("logs", "-f", "web", "db", "--json")
    lines = [(item["name"], item["line"]) for item in map(json.loads, result.out.splitlines())]
    assert lines == [
        ("web", "one"),
        ("web", "two"),
        ("db", "bin\\xff\rary"),
        ("db", "half-done"),
        ("web", "three"),
        ("db", "xy"),
    ]


def test_following_one_log_passes_bytes_on(svcmgr, files):
    files.chunks = [("web", b"thr"), ("web", b"ee\n")]
    assert svcmgr("logs", "-f", "-n", "1", "web").out == "one\ntwo\nthree\n"


def test_a_line_without_end_is_cut(capfdbinary):
    printer = Printer(prefix=True, as_json=False)
    printer.feed("web", b"x" * (LINE_MAX + 5))
    printer.finish("web")
    printer.flush()
    first, second = capfdbinary.readouterr().out.splitlines()
    assert len(first) == LINE_MAX + len("web: ")
    assert second == b"web: xxxxx"


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"", []), (b"a", [b"a"]), (b"a\n", [b"a"]), (b"\n\n", [b"", b""]), (b"a\r\x0cb", [b"a\r\x0cb"])],
)
def test_only_a_newline_ends_a_line(data, lines):
    assert split(data) == lines
