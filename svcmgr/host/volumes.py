"""What svcmgrd does with volumes: validate, store, then call the managers of the services concerned.

The order is the same in every command, one command at a time for each volume. The new volume is a value, checked whole;
the volfiles that would follow from it are made and compared, so that a broken one is refused while nothing has changed;
the volume goes to disk; only then do the managers act. A daemon that refuses its new configuration turns the change
back, so that the volume never says what its daemon does not do.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping

import attrs

from svcmgr.errors import AlreadyExists, BadInput, Busy, ReconfigureFailed, StorageFailed, UnknownVolume
from svcmgr.host import bricks
from svcmgr.host import wire_volumes as wire
from svcmgr.host.definitions import parse
from svcmgr.host.store import IntentStore
from svcmgr.host.volume_store import VolumeStore
from svcmgr.svc import Goal, Registry, Seams, Service, ServiceSpec, Supervisor, events
from svcmgr.svc.volumes import Moved, revolume
from svcmgr.volume import OPTIONS, Volume, check_bricks, check_mount
from svcmgr.volume.options import near


def volume_specs(names: Iterable[str], registry: Registry) -> dict[str, ServiceSpec]:
    """What svcmgrd itself defines for each volume: one service of every kind that there is one of per volume."""
    found = list(names)
    if not found:  # looking for kinds reads what packages are installed
        return {}
    kinds = [kind.name for kind in registry.kinds() if kind.cls is not None and kind.cls.per_volume]
    keys = [(kind, f"{kind}@{name}") for kind in kinds for name in found]
    return {key: parse(key, {"kind": kind}, registry) for kind, key in keys}


class Volumes:
    """One per svcmgrd."""

    def __init__(
        self, supervisor: Supervisor, store: VolumeStore, intent: IntentStore, registry: Registry, seams: Seams
    ) -> None:
        self.supervisor = supervisor
        self.store = store
        self._intent = intent
        self.registry = registry
        self._seams = seams
        self._clock = seams.clock
        self._locks: dict[str, asyncio.Lock] = {}
        #: bricks of different volumes must not overlap, so volumes are created one at a time
        self._creating = asyncio.Lock()

    def check_removable(self, service: Service) -> None:
        """Raises Busy for a service that belongs to a volume and goes with it."""
        name = service.spec.instance or ""
        if type(service).per_volume and name in self.store.volumes:
            raise Busy(
                f"cannot remove {service.key}: it belongs to volume {name}; svcmgr stop {service.key} keeps it down, "
                f"svcmgr volume delete {name} takes it away"
            )

    def find(self, name: str) -> Volume:
        """The volume of that name. Raises UnknownVolume."""
        volume = self.store.volumes.get(name)
        if volume is None:
            close = near(name, self.store.volumes)
            hint = f"; did you mean {', '.join(close)}?" if close else "; see svcmgr volume list"
            if name in self.store.invalid:
                hint = f": its file is invalid: {self.store.invalid[name]}"
            raise UnknownVolume(f"cannot find volume {name[:200]!r}{hint}", near=close)
        return volume

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, name: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            yield
        if name not in self.store.volumes and not lock.locked():
            self._locks.pop(name, None)

    # --- the life of a volume ----------------------------------------------------------------------------

    async def create(self, request: wire.VolumeCreateRequest) -> wire.VolumeReply:
        """Raises AlreadyExists, BadInput, StorageFailed."""
        async with self._creating, self._one_at_a_time(request.name):
            if request.name in self.store.volumes or request.name in self.store.invalid:
                raise AlreadyExists(
                    f"cannot create volume {request.name}: there is one of that name", name=request.name
                )
            volume = Volume.create(request.name, str(uuid.uuid4()), tuple(request.bricks), self._clock.utc())
            check_bricks(volume, self.store.volumes.values())
            layout = self._seams.layout
            await asyncio.to_thread(bricks.check, volume.bricks, (layout.etc, layout.state, layout.run, layout.log))
            await self.store.commit(volume)
            try:
                await asyncio.to_thread(bricks.make, volume.bricks)
            except StorageFailed:
                await self.store.remove(volume.name)
                raise
            await self._own(volume)
            return await self._moved("create", volume, {}, 0.0)

    async def _own(self, volume: Volume) -> None:
        specs = volume_specs([volume.name], self.registry)
        missing = {key: spec for key, spec in specs.items() if key not in self.supervisor.services}
        await self._intent.commit(dict.fromkeys(missing, Goal.UP.value))
        for spec in missing.values():
            service = self.registry.find(spec.kind)(spec, self._seams)
            service.lifecycle.goal = Goal.UP
            self.supervisor.add(service)

    async def start(self, request: wire.VolumeActionRequest) -> wire.VolumeReply:
        """Raises UnknownVolume, Busy, BadInput, StorageFailed."""
        async with self._one_at_a_time(request.name):
            volume = self.find(request.name).start(self._clock.utc())
            await asyncio.to_thread(bricks.check_present, volume.bricks)
            return await self._change("start", volume, {}, request.timeout_s if request.wait else 0.0)

    async def stop(self, request: wire.VolumeActionRequest) -> wire.VolumeReply:
        """Raises UnknownVolume, Busy, StorageFailed."""
        async with self._one_at_a_time(request.name):
            volume = self.find(request.name).stop(self._clock.utc())
            return await self._change("stop", volume, {}, request.timeout_s if request.wait else 0.0)

    async def set(self, request: wire.VolumeSetRequest) -> wire.VolumeReply:
        """All of them or none.

        Raises:
            UnknownVolume, UnknownOption, BadInput, AlreadyExists, BadVolfile, StorageFailed: nothing has changed.
            ReconfigureFailed: a daemon refused; the old values are in force again.
        """
        if not request.options:
            raise BadInput(f"cannot set options of {request.name}: give at least one KEY VALUE")
        async with self._one_at_a_time(request.name):
            old = self.find(request.name)
            new = old.set(request.options, self._clock.utc())
            check_mount(new, self.store.volumes.values())
            return await self._options("set", old, new, request.timeout_s)

    async def reset(self, request: wire.VolumeResetRequest) -> wire.VolumeReply:
        """Raises UnknownVolume, UnknownOption, ReconfigureFailed, StorageFailed."""
        async with self._one_at_a_time(request.name):
            old = self.find(request.name)
            names = request.options or list(old.options)
            return await self._options("reset", old, old.reset(names, self._clock.utc()), request.timeout_s)

    async def _options(self, action: str, old: Volume, new: Volume, timeout_s: float) -> wire.VolumeReply:
        changed = _changed(old, new)
        if not changed:
            return wire.VolumeReply(self.info(old), {}, [])
        reply = await self._change(action, new, changed, timeout_s)
        refused = [one for one in reply.outcomes if one.action == "failed" and one.code == ReconfigureFailed.code]
        if refused:
            await self._take_back(old, refused, timeout_s)
        return reply

    async def _take_back(self, old: Volume, refused: list[wire.ServiceOutcome], timeout_s: float) -> None:
        now = self.find(old.name)
        back = attrs.evolve(now, options=old.options, version=now.version + 1, modified=self._clock.utc())
        await self.store.commit(back)
        await self._moved("set", back, {}, timeout_s)
        first = refused[0]
        raise ReconfigureFailed(
            f"cannot set options of {old.name}: {first.name} refused them: {first.text}; the old values are in force",
            service=first.name,
        )

    async def delete(self, request: wire.VolumeDeleteRequest) -> wire.VolumeReply:
        """Raises UnknownVolume, Busy while it is started, has snapshots, or its services still end."""
        async with self._one_at_a_time(request.name):
            volume = self.find(request.name)
            if volume.started:
                raise Busy(
                    f"cannot delete volume {volume.name}: it is started; "
                    f"stop it first: svcmgr volume stop {volume.name}"
                )
            concerned = self.concerned(volume.name)
            for service in concerned:
                self.supervisor.check_removable(service)
                held = await asyncio.to_thread(service.holds, volume.name) if not request.force else ""
                if held:
                    raise Busy(f"cannot delete volume {volume.name}: {held}", name=volume.name)
            info = self.info(volume)
            await self.store.remove(volume.name)
            made = [service.key for service in concerned if service.spec.source is None]
            for key in made:
                self.supervisor.remove(key)
            await self._intent.commit(dict.fromkeys(made))
            self.supervisor.emit(events.VolumeChanged("", volume.name, "delete"))
            await revolume(self.supervisor, self.store.volumes, volume.name, 0.0)
            return wire.VolumeReply(info, {}, [])

    # --- the common part -----------------------------------------------------------------------------------

    async def _change(
        self, action: str, volume: Volume, changed: Mapping[str, list[str]], timeout_s: float
    ) -> wire.VolumeReply:
        self._check_volfiles(volume)
        await self.store.commit(volume)
        return await self._moved(action, volume, changed, timeout_s)

    def _check_volfiles(self, volume: Volume) -> None:
        """Make and compare what the daemons would get; nothing is written. Raises BadVolfile."""
        volumes = {**self.store.volumes, volume.name: volume}
        for service in self.concerned(volume.name):
            trial = type(service)(service.spec, service.seams)
            trial.volumes = volumes
            service.configuring.plan_for(trial.volfile())

    async def _moved(
        self, action: str, volume: Volume, changed: Mapping[str, list[str]], timeout_s: float
    ) -> wire.VolumeReply:
        text = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
        self.supervisor.emit(events.VolumeChanged("", volume.name, action, text))
        moved = await revolume(self.supervisor, self.store.volumes, volume.name, timeout_s)
        return wire.VolumeReply(self.info(volume), dict(changed), [_outcome(one) for one in moved])

    def concerned(self, name: str) -> list[Service]:
        """The services whose managers a change of this volume calls."""
        return [service for service in self.supervisor.services.values() if service.concerns(name)]

    def info(self, volume: Volume) -> wire.VolumeInfo:
        """One volume as people see it."""
        services = [
            wire.VolumeService(s.key, s.status.value, s.wanted({volume.name: volume}), s.reason)
            for s in self.concerned(volume.name)
        ]
        return wire.VolumeInfo(
            name=volume.name,
            id=volume.id,
            bricks=list(volume.bricks),
            status=volume.status.value,
            options=dict(volume.options),
            version=volume.version,
            created=volume.created,
            modified=volume.modified,
            services=services,
        )


def _changed(old: Volume, new: Volume) -> dict[str, list[str]]:
    names = sorted({*old.options, *new.options})
    return {
        name: [volume.options.get(name, OPTIONS[name].default) for volume in (old, new)]
        for name in names
        if old.options.get(name) != new.options.get(name)
    }


def _outcome(moved: Moved) -> wire.ServiceOutcome:
    return wire.ServiceOutcome(moved.key, moved.action, moved.ok, moved.text, moved.code)
