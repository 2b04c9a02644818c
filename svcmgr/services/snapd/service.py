"""snapd as a service: one for each volume, wanted exactly while that is started and features.uss is on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svcmgr.errors import BadDefinition, BadVolfile
from svcmgr.svc import Change, Restart, Service, ServiceSpec, Verdict
from svcmgr.volume import Comparison, Volume, compare, parse, render, snapd_graph, snapd_volfile_id
from svcmgr.volume import Verdict as Shape
from svcmgr.volume.volgen import FUSE

#: The option of a volume that wants it.
USS = "features.uss"
#: The one file of its store that is no snapshot.
SCHEDULES = "schedules.json"
#: How many changed options a sentence names.
_NAMED = 4


class SnapdService(Service):
    """Serves the snapshots of one volume to its users."""

    kind = "snapd"
    per_volume = True
    restart = Restart.ALWAYS
    stop_grace = 15.0
    frame_timeout = 30.0

    @classmethod
    def check(cls, spec: ServiceSpec) -> None:
        """It is named for its volume, and runs its own program. Raises BadDefinition."""
        super().check(spec)
        if spec.instance is None:
            raise BadDefinition(
                f"cannot define {spec.key}: name it snapd@VOLUME for the volume whose snapshots it serves"
            )
        if spec.command:
            raise BadDefinition(f"cannot define {spec.key}: kind snapd has its own program", key="command")

    @property
    def volume(self) -> Volume | None:
        """Its volume, or None while there is none of that name."""
        found = self.volumes.get(self.spec.instance or "")
        return found if isinstance(found, Volume) else None

    def wanted(self, volumes: Mapping[str, Any]) -> bool:
        """Started, and snapshots are on."""
        volume = volumes.get(self.spec.instance or "")
        return isinstance(volume, Volume) and volume.started and volume.value(USS) is True

    def why_unwanted(self, volumes: Mapping[str, Any]) -> str:
        """What keeps it down, and the command that changes that."""
        name = self.spec.instance
        volume = volumes.get(name or "")
        if not isinstance(volume, Volume):
            return f"there is no volume {name}; create it: svcmgr volume create {name} BRICK"
        if not volume.started:
            return f"volume {name} is {volume.status.value}, not started; start it: svcmgr volume start {name}"
        return f"{USS} of volume {name} is off; turn it on: svcmgr volume set {name} {USS} on"

    def argv(self) -> Sequence[str]:
        """The daemon side, without the current directory on the module path."""
        return (sys.executable, "-P", "-m", "svcmgr.services", "svcmgr.services.snapd.daemon:Snapd")

    def volfile(self) -> str | None:
        """The graph of its volume. Raises BadVolfile."""
        volume = self.volume
        if volume is None:
            return None
        return render(snapd_graph(volume, str(self._store), str(self._mount)))

    def volfile_id(self) -> str:
        """``snapd/VOLUME``, as glusterd calls it."""
        return snapd_volfile_id(self.spec.instance or "")

    @property
    def _store(self) -> Path:
        return self.seams.layout.state / "snapd" / (self.spec.instance or "")

    @property
    def _mount(self) -> Path:
        return self.seams.layout.run / "snaps" / (self.spec.instance or "")

    def compare(self, old: str, new: str) -> Change:
        """By graph: other options can be applied as it runs, another shape cannot. Raises BadVolfile."""
        fresh = parse(new)
        try:
            verdict = compare(parse(old), fresh)
        except BadVolfile:
            return Change(Verdict.TELL, "the volfile in force was unreadable")
        if verdict.verdict is Shape.SHAPE:
            return Change(Verdict.RESTART, verdict.first)
        if verdict.verdict is Shape.OPTIONS:
            return Change(Verdict.TELL, _told(verdict))
        return Change(Verdict.NONE)

    def holds(self, volume: str) -> str:
        """Its snapshots, if it has any. They lie inside the bricks, and only snapd can take them away."""
        records = sum(1 for path in self._store.glob("*.json") if path.name != SCHEDULES)
        return (
            f"it has {records} snapshots; delete them first (svcmgr snapshot delete {volume} '*'), or leave their data "
            "where it is with --force"
            if records
            else ""
        )

    def mounts(self) -> Sequence[Path]:
        """Its view: where the volfile of now, and the one its process has, want it."""
        texts = (self.configuring.in_force, self.volfile())
        return tuple(dict.fromkeys(mount for text in texts if (mount := _mount_in(text)) is not None))


def _mount_in(text: str | None) -> Path | None:
    try:
        top = parse(text or "").top
    except BadVolfile:
        return None  # what nobody could read nobody has mounted from
    return Path(dict(top.options)["mount-point"]) if top.type == FUSE else None


def _told(comparison: Comparison) -> str:
    texts = [f"{change.option} {_shown(change.old)} -> {_shown(change.new)}" for change in comparison.changes[:_NAMED]]
    more = len(comparison.changes) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def _shown(value: str | None) -> str:
    return "unset" if value is None else value
