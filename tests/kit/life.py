"""Lives of svcmgrd over one fake operating system: what a command, a crash and the next svcmgrd make of a root.

A :class:`Life` is a :class:`~tests.kit.world.World` with the host's part: intent, ledger, definitions, commander, boot.
Its disk is real (below ``place``), its processes are objects, its time is virtual. Leaving a life leaves the processes
behind, as the end of a svcmgrd does; the next life on the same ``system`` adopts them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import tomli_w

from svcmgr.host import wire
from svcmgr.host.boot import boot
from svcmgr.host.commander import Commander
from svcmgr.host.daemon import BUILTIN
from svcmgr.host.recorder import Recorder
from svcmgr.host.store import IntentStore, Ledger
from svcmgr.host.volfiles import Volfiles
from svcmgr.host.volume_store import VolumeStore
from svcmgr.host.volumes import Volumes
from svcmgr.svc import Registry
from tests.kit.fakeos import US, FakeOs, Program
from tests.kit.world import World, layout_in

#: Back-off without a surprise: see tests.kit.world.PLAIN.
PLAIN_KEYS = {"restart_delay": 1.0, "restart_delay_max": 4.0, "restart_intensity": 5, "restart_period": 100.0}


class Life(World):
    """See the module. Entering boots: what is defined is owned, adopted and started."""

    def __init__(self, place: Path, system: FakeOs | None = None) -> None:
        layout = layout_in(place)
        self.ledger = Ledger(layout)
        self.ledger.load()
        super().__init__(place, system=system, generation=self.ledger.generation)
        self.store = IntentStore(layout, self.clock.utc())
        recorder = Recorder(self.ledger, self.clock, self.supervisor.services)
        self.supervisor.sinks.insert(0, recorder)
        self.volfiles = Volfiles(self.clock)
        self.seams = attrs.evolve(self.seams, volfiles=self.volfiles)
        store = VolumeStore(layout, self.clock.utc())
        self.volumes = Volumes(self.supervisor, store, self.store, Registry(BUILTIN), self.seams)
        self.commander = Commander(self.supervisor, self.seams, self.volumes, self.store, recorder)
        self.ended = False
        self.commander.end = self._end

    def _end(self) -> None:
        self.ended = True

    async def __aenter__(self) -> Life:
        self.ledger.open()
        await super().__aenter__()
        start = boot(self.commander, self.ledger)
        await start()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            self.ledger.close()
            for process in self.os.processes.values():
                if process.ppid == US:
                    process.ppid = 1
            self.os.known.clear()

    # --- commands, each as the verb does it ------------------------------------------------------------

    async def add(self, key: str, program: Program | None = None, **table: Any) -> wire.Outcome:
        """Define a service over the wire, not started."""
        self.os.programs[key] = program or Program()
        request = wire.AddRequest(key, {"command": [key], "ready": "none", **PLAIN_KEYS, **table})
        (outcome,) = await self.commander.add(request, 60.0)
        return outcome

    async def command(self, verb: str, *keys: str, timeout_s: float = 60.0) -> dict[str, str]:
        """``start``, ``stop`` or ``restart``: result by name."""
        outcomes = await getattr(self.commander, verb)(list(keys), timeout_s)
        return {o.name: o.result for o in outcomes}


def write(place: Path, key: str, text: str | None = None, **table: Any) -> Path:
    """Put a definition file on the disk of ``place``, as an operator does; its program is found under ``key``."""
    path = layout_in(place).definitions / f"{key}.toml"
    path.write_text(
        text if text is not None else tomli_w.dumps({"command": [key], "ready": "none", **PLAIN_KEYS, **table})
    )
    return path
