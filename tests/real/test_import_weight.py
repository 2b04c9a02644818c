"""What a true interpreter has loaded after an import: the price of each program, paid at every start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import svcmgr.cli

SHOW = "import sys; base = set(sys.modules); {}; print(*sorted(set(sys.modules) - base))"
CLI_MODULES = sorted(path.stem for path in Path(svcmgr.cli.__path__[0]).glob("*.py") if path.stem != "__main__")


def loaded(statement: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", SHOW.format(statement)], capture_output=True, text=True, timeout=60, check=True
    )
    return set(run.stdout.split())


def below(names: set[str], *prefixes: str) -> set[str]:
    return {name for name in names for prefix in prefixes if name == prefix or name.startswith(prefix + ".")}


def test_the_way_to_look_can_see():
    assert below(loaded("import asyncio, attrs"), "asyncio", "attr") >= {"asyncio", "asyncio.events", "attr"}


def test_the_command_line_starts_light():
    names = loaded("import svcmgr.cli.main")
    assert "svcmgr.cli.main" in names
    assert below(names, "asyncio", "attr", "attrs", "psutil", "rich", "click", "msgspec", "svcmgr.host") == set()


@pytest.mark.parametrize("name", CLI_MODULES)
def test_no_command_loads_the_heavy_ones(name):
    names = loaded(f"import svcmgr.cli.{name}")
    assert (
        below(names, "asyncio", "attr", "attrs", "psutil", "rich", "zmq", "svcmgr.svc", "svcmgr.host.daemon") == set()
    )


def test_the_look_at_files_needs_no_loop():
    names = loaded("import svcmgr.host.offline")
    assert "svcmgr.host.offline" in names
    assert below(names, "asyncio", "psutil", "subprocess", "svcmgr.conn", "svcmgr.svc") == set()


def test_svcmgrd_loads_no_daemon_side():
    names = loaded("import svcmgr.host.__main__, svcmgr.host.daemon")
    assert "svcmgr.svc.supervisor" in names
    assert below(names, "svcmgr.services.daemonkit", "svcmgr.cli", "psutil", "click", "importlib.metadata") == set()


def test_a_daemon_loads_no_supervisor():
    names = loaded("import svcmgr.services.__main__")
    assert "svcmgr.services.daemonkit.life" in names
    assert below(names, "svcmgr.svc", "svcmgr.host", "svcmgr.cli", "svcmgr.proc.osapi", "psutil", "click") == set()
