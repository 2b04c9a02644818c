"""A command pays for itself alone: what ``status`` may not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from svcmgr.host.wire import KindInfo
from svcmgr.host.wire_volumes import OptionInfo, OptionsReply, VolumesReply
from svcmgr.services.snapd.wire import SchedulesReply, SnapshotsReply

HEAVY = ["asyncio", "attrs", "attr", "psutil", "rich", "subprocess", "hashlib", "tomllib", "difflib"]
SHOW_MODULES = """
import sys
from svcmgr.cli.main import run
before = set(sys.modules)
code = run(sys.argv[1:])
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("command", ["status", "kinds", "volume list", "volume info", "volume get v0 features.uss"])
def test_no_heavy_import(svcmgrd, root, command):
    svcmgrd.status()
    svcmgrd.answers["volume-info"] = VolumesReply([])
    svcmgrd.answers["volume-options"] = OptionsReply([OptionInfo("features.uss", "bool", "off", "on", True, "", [])])
    svcmgrd.answers["kinds"] = [KindInfo("command", "", "")]
    check(root, command)


@pytest.mark.parametrize("command", ["snapshot list v0", "snapshot schedules v0"])
def test_no_heavy_import_for_snapshots(snapd, root, command):
    snapd.answers["snapshots"] = SnapshotsReply([], "v0")
    snapd.answers["schedules"] = SchedulesReply([])
    check(root, command)


def check(root, command):
    bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True)
    result = subprocess.run(
        [sys.executable, "-c", SHOW_MODULES, "--root", str(root), *command.split()],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 0
    loaded = set(result.stderr.split()) - set(bare.stdout.split())
    assert "svcmgr.conn.blocking" in loaded
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))
    assert not any(name.startswith(("svcmgr.svc", "svcmgr.proc", "svcmgr.host.offline")) for name in loaded)
    assert {name for name in loaded if name.startswith("svcmgr.cli.")}.isdisjoint(
        {"svcmgr.cli.launch", "svcmgr.cli.actions", "svcmgr.cli.progress", "svcmgr.cli.definition"}
    )
