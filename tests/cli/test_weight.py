"""A command pays for itself alone: what ``status`` may not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from svcmgr.host.wire import KindInfo
from svcmgr.host.wire_volumes import OptionInfo, OptionsReply, VolumeInfo, VolumeReply, VolumesReply
from svcmgr.services.mgmtd.wire import ChainInfo, ChainsReply, NodesReply, TargetsReply
from svcmgr.services.snapd.wire import SchedulesReply, Snapshot, SnapshotsReply

HEAVY = ["asyncio", "attrs", "attr", "psutil", "rich", "subprocess", "hashlib", "tomllib", "difflib"]
SHOW_MODULES = """
import sys
from svcmgr.cli.main import run
before = set(sys.modules)
code = run(sys.argv[1:])
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def loaded_by(root, command):
    """The modules that a command line loads beside the interpreter's own, and its exit code."""
    bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True)
    result = subprocess.run(
        [sys.executable, "-c", SHOW_MODULES, "--root", str(root), *command.split()],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return set(result.stderr.split()) - set(bare.stdout.split()), result.returncode


@pytest.mark.parametrize("command", ["status", "kinds", "volume list", "volume info", "volume get v0 features.uss"])
def test_no_heavy_import(svcmgrd, root, command):
    svcmgrd.status()
    svcmgrd.answers["volume-info"] = VolumesReply([])
    svcmgrd.answers["volume-options"] = OptionsReply([OptionInfo("features.uss", "bool", "off", "on", True, "", [])])
    svcmgrd.answers["kinds"] = [KindInfo("command", "", "")]
    loaded, code = loaded_by(root, command)
    assert code == 0
    assert "svcmgr.conn.blocking" in loaded
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))
    assert not any(name.startswith(("svcmgr.svc", "svcmgr.proc", "svcmgr.host.offline")) for name in loaded)
    assert {name for name in loaded if name.startswith("svcmgr.cli.")}.isdisjoint(
        {"svcmgr.cli.launch", "svcmgr.cli.actions", "svcmgr.cli.progress", "svcmgr.cli.definition"}
    )


@pytest.mark.parametrize("command", ["create v0 /srv/a", "start v0", "set v0 features.uss on"])
def test_changing_a_volume_loads_no_loop_and_no_table_of_options(svcmgrd, root, command):
    info = VolumeInfo("v0", "6ad5c1b4-0000-4000-8000-000000000001", ["/srv/a"], "created", 1, 0.0, 0.0)
    svcmgrd.answers[f"volume-{command.split()[0]}"] = VolumeReply(info)
    loaded, code = loaded_by(root, f"volume {command}")
    assert code == 0
    assert loaded.isdisjoint({"asyncio", "attrs", "attr", "subprocess", "hashlib", "difflib"})
    assert not any(name.startswith(("svcmgr.svc", "svcmgr.proc", "svcmgr.volume")) for name in loaded)


@pytest.mark.parametrize("command", ["list v0", "schedules v0", "create v0", "activate v0 monday"])
def test_snapshots_load_no_loop_and_no_daemon(snapd, root, command):
    snapd.answers["snapshots"] = snapd.answers["snapshot-activate"] = SnapshotsReply([], "v0")
    snapd.answers["snapshot-create"] = Snapshot("monday", "id", 0.0, "copy", "per-file")
    snapd.answers["schedules"] = SchedulesReply([])
    loaded, code = loaded_by(root, f"snapshot {command}")
    assert code == 0
    assert "svcmgr.services.snapd.wire" in loaded
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))
    services = {name for name in loaded if name.startswith("svcmgr.services.")}
    assert services == {"svcmgr.services.snapd", "svcmgr.services.snapd.wire"}
    assert not any(name.startswith(("svcmgr.svc", "svcmgr.proc", "svcmgr.volume")) for name in loaded)


@pytest.mark.parametrize(
    "command",
    ["nodes list", "chains list", "chains set 9 11", "chains add-target 9 11", "targets list", "wait all-serving"],
)
def test_a_cluster_loads_no_loop_and_no_daemon(mgmtd, root, command):
    mgmtd.answers["nodes"] = NodesReply([])
    mgmtd.answers["chains"] = mgmtd.answers["set-chains"] = ChainsReply([])
    mgmtd.answers["update-chain"] = ChainInfo(9, 1, "SERVING", [])
    mgmtd.answers["targets"] = TargetsReply([])
    loaded, code = loaded_by(root, f"mgmtd {command}")
    assert code == 0
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))
    services = {name for name in loaded if name.startswith("svcmgr.services.")}
    wire = {name for name in services if name.startswith("svcmgr.services.mgmtd.wire.")}
    assert services - wire == {f"svcmgr.services.{name}" for name in ("mgmtd", "mgmtd.wire", "mgmtd.errors")}
    assert not any(name.startswith(("svcmgr.svc", "svcmgr.proc", "svcmgr.volume")) for name in loaded)
