"""The verbs of volumes: the table, the requests validated, the answers made. What is done is in host/volumes.py."""

from __future__ import annotations

import fnmatch
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from svcmgr.conn import Access, CallContext, Verb
from svcmgr.host import wire_volumes as wire
from svcmgr.host.volfiles import Volfiles
from svcmgr.host.volumes import Volumes
from svcmgr.volume import OPTIONS, Volume
from svcmgr.volume.options import find

T = TypeVar("T")

#: Longest time a caller may ask a verb to wait, seconds.
_WAIT_MAX_S = 86400.0


class VolumeApi:
    """Rows for the verb table of svcmgrd."""

    def __init__(self, volumes: Volumes, volfiles: Volfiles) -> None:
        self._volumes = volumes
        self._volfiles = volfiles

    def verbs(self) -> dict[str, Verb]:
        """Name -> handler; what each does is said in svcmgr.host.wire_volumes."""
        read, admin = Access.READ, Access.ADMIN
        long = _WAIT_MAX_S
        return {
            "volume-info": Verb(self.info, read, wire.VolumesRequest),
            "volume-options": Verb(self.options, read, wire.OptionsRequest),
            "volfile-facts": Verb(self.volfile_facts, read, None),
            "volume-create": Verb(self.create, admin, wire.VolumeCreateRequest, deadline=long),
            "volume-start": Verb(self.start, admin, wire.VolumeActionRequest, deadline=long),
            "volume-stop": Verb(self.stop, admin, wire.VolumeActionRequest, deadline=long),
            "volume-set": Verb(self.set, admin, wire.VolumeSetRequest, deadline=long),
            "volume-reset": Verb(self.reset, admin, wire.VolumeResetRequest, deadline=long),
            "volume-delete": Verb(self.delete, admin, wire.VolumeDeleteRequest, deadline=long),
        }

    # --- reading -------------------------------------------------------------------------------------------

    def info(self, request: wire.VolumesRequest, ctx: CallContext) -> wire.VolumesReply:
        store = self._volumes.store
        names = self._match(request.names) if request.names else sorted(store.volumes)
        invalid = {name: why for name, why in store.invalid.items() if not request.names or name in request.names}
        return wire.VolumesReply([self._volumes.info(store.volumes[name]) for name in names], invalid)

    def _match(self, patterns: list[str]) -> list[str]:
        """Names and globs to names, each once. Raises UnknownVolume."""
        known = self._volumes.store.volumes
        found: dict[str, None] = {}
        for pattern in patterns:
            hits = [pattern] if pattern in known else fnmatch.filter(sorted(known), pattern)
            if not hits and pattern not in self._volumes.store.invalid:
                self._volumes.find(pattern)
            found.update(dict.fromkeys(hits))
        return list(found)

    def options(self, request: wire.OptionsRequest, ctx: CallContext) -> wire.OptionsReply:
        volume = self._volumes.find(request.name) if request.name else None
        return wire.OptionsReply([_option(name, volume) for name in request.options or list(OPTIONS)])

    def volfile_facts(self, _: None, ctx: CallContext) -> wire.VolfileFacts:
        return self._volfiles.facts()

    # --- changing ------------------------------------------------------------------------------------------

    async def create(self, request: wire.VolumeCreateRequest, ctx: CallContext) -> wire.VolumeReply:
        return await self._outlive(self._volumes.create(request))

    async def start(self, request: wire.VolumeActionRequest, ctx: CallContext) -> wire.VolumeReply:
        return await self._outlive(self._volumes.start(request))

    async def stop(self, request: wire.VolumeActionRequest, ctx: CallContext) -> wire.VolumeReply:
        return await self._outlive(self._volumes.stop(request))

    async def set(self, request: wire.VolumeSetRequest, ctx: CallContext) -> wire.VolumeReply:
        return await self._outlive(self._volumes.set(request))

    async def reset(self, request: wire.VolumeResetRequest, ctx: CallContext) -> wire.VolumeReply:
        return await self._outlive(self._volumes.reset(request))

    async def delete(self, request: wire.VolumeDeleteRequest, ctx: CallContext) -> wire.VolumeReply:
        return await self._outlive(self._volumes.delete(request))

    async def _outlive(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._volumes.supervisor.outlive(work)


def _option(name: str, volume: Volume | None) -> wire.OptionInfo:
    option = find(name)
    values: Mapping[str, str] = volume.options if volume is not None else {}
    return wire.OptionInfo(
        name=name,
        type=option.type,
        default=option.default,
        value=values.get(name, option.default),
        is_set=name in values,
        help=option.help,
        kinds=sorted(option.kinds),
    )
