"""mgmtd's host side: pure answers, as tables."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from svcmgr.errors import BadDefinition
from svcmgr.services.mgmtd.service import MgmtdService
from tests.kit.world import World, make_spec, virtual


def made(world: World, key: str = "mgmtd", **fields: object) -> MgmtdService:
    return MgmtdService(make_spec(key, **{"command": (), **fields}), world.seams)


@virtual
async def test_the_store_is_below_the_state_directory(tmp_path: Path) -> None:
    world = World(tmp_path)
    argv = made(world).argv()
    assert argv[:5] == (sys.executable, "-P", "-m", "svcmgr.services", "svcmgr.services.mgmtd.daemon:Mgmtdd")
    assert argv[5:] == (
        *("--cluster", "default"),
        *("--node", "1"),
        *("--store", str(world.seams.layout.state / "mgmtd" / "mgmtd.db")),
    )
    assert made(world, "mgmtd@b").argv()[-1] == str(world.seams.layout.state / "mgmtd" / "b.db")


@virtual
async def test_options_are_handed_on(tmp_path: Path) -> None:
    argv = made(World(tmp_path), options={"cluster": "blue", "node": 7, "store": "/x/y.db"}).argv()
    assert argv[5:] == ("--cluster", "blue", "--node", "7", "--store", "/x/y.db")


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ("/bin/true",)},
        {"options": {"colour": "blue"}},
        {"options": {"cluster": ""}},
        {"options": {"cluster": "a b"}},
        {"options": {"cluster": "x" * 65}},
        {"options": {"cluster": 5}},
        {"options": {"node": 0}},
        {"options": {"node": "1"}},
        {"options": {"node": True}},
        {"options": {"node": 2**32}},
        {"options": {"store": "relative.db"}},
        {"options": {"store": 5}},
    ],
)
def test_what_cannot_run_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadDefinition):
        MgmtdService.check(make_spec("mgmtd", **{"command": (), **fields}))
