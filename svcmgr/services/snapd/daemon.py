"""snapd: the snapshots of one volume. What its verbs mean is in :mod:`wire`; docs/snapshots.md is for people."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import resource
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from svcmgr.errors import BadInput, Busy, StorageFailed
from svcmgr.services.daemonkit import Access, CallContext, Context, Daemon, Verb, Volfile, Worker
from svcmgr.services.snapd import answers, wire
from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.job import Job, in_thread
from svcmgr.services.snapd.keeper import Keeper
from svcmgr.services.snapd.operations import Operations, ScheduledTaker
from svcmgr.services.snapd.reading import Reader
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.showing import Showing

#: Free space is looked at after this many seconds, though nothing was changed here.
_SPACE_EVERY_S = 60.0
#: A walk holds three descriptors for each level of directories.
_DESCRIPTORS = 16_384


class Snapd(Daemon):
    """Takes, keeps, shows and restores the snapshots of one volume."""

    name = "snapd"
    #: Everyone may look; what a caller may see of files is checked for each of them.
    socket_mode: ClassVar[int] = 0o666

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._settings: Settings | None = None
        self._operations: Operations | None = None
        self._keeper: Keeper | None = None
        self._showing = Showing(context.log, self.exposed)
        self._reader = Reader()
        self._space = answers.SpaceFacts()
        self._moved = asyncio.Event()

    # --- configuration

    async def configure(self, volfile: Volfile | None) -> None:
        """Raises BadInput without a volfile, BadVolfile for one that cannot be used, Busy for another shape."""
        if volfile is None:
            raise BadInput("cannot run without a volume: give -s and --volfile-id snapd/VOLUME")
        settings = Settings.from_volfile(volfile.text)
        if self._settings is not None and (what := self._settings.differs_in_shape(settings)):
            raise Busy(f"cannot take over another {what} while running; restart snapd", option=what)
        await self._apply(settings)

    async def _apply(self, settings: Settings) -> None:
        await self._showing.take_over(settings)
        self._settings = settings
        self.context.log.setLevel(logging.getLevelNamesMapping()[settings.log_level.upper()])
        if self._operations is not None:
            self._operations.settings = settings

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            raise StorageFailed("cannot serve before there is a configuration")
        return self._settings

    @property
    def operations(self) -> Operations:
        if self._operations is None:
            raise Busy("cannot serve yet: snapd is starting; try again")
        return self._operations

    # --- life

    @contextlib.asynccontextmanager
    async def resources(self) -> AsyncIterator[None]:
        _raise_descriptor_limit()
        self._operations = Operations(self.settings, self.context.clock, self.context.log, self._changed)
        await self._operations.start()
        await self._look_at_space()
        taker = ScheduledTaker(self._operations)
        self._keeper = Keeper(self.settings.store, taker, self.context.clock, self.context.log)
        await self._showing.open(self.settings)
        try:
            async with self._keeper.running():
                yield
        finally:
            await self._showing.aclose()

    def workers(self) -> list[Worker]:
        return [
            Worker("collect", self.operations.collect, lambda: 0.0),
            Worker("space", self._watch_space, lambda: 0.0),
        ]

    def _changed(self) -> None:
        """The set of snapshots, or what is activated, may be another one."""
        self._showing.publish()
        self._moved.set()

    @property
    def keeper(self) -> Keeper:
        if self._keeper is None:
            raise Busy("cannot serve yet: snapd is starting; try again")
        return self._keeper

    def exposed(self) -> tuple[Exposed, ...]:
        """The activated snapshots, oldest first."""
        return tuple(answers.exposed(record) for record in self.operations.catalogue.records if record.activated)

    async def _watch_space(self) -> None:
        """One round: after every change of ours, and now and then, since the users of the volume write too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SPACE_EVERY_S):
                await self._moved.wait()
        self._moved.clear()
        await self._look_at_space()

    async def _look_at_space(self) -> None:
        job = Job()
        bricks = self.settings.bricks
        self._space = await in_thread(job, functools.partial(answers.look_at_space, bricks, self._space))

    # --- verbs

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "snapshots": Verb(self._snapshots, Access.READ, wire.SnapshotsRequest),
            "snapshot-info": Verb(self._info, Access.READ, wire.NameRequest),
            "snapshot-create": Verb(self._create, Access.ADMIN, wire.CreateRequest),
            "snapshot-activate": Verb(self._activate, Access.ADMIN, wire.NamesRequest),
            "snapshot-deactivate": Verb(self._deactivate, Access.ADMIN, wire.NamesRequest),
            "snapshot-delete": Verb(self._delete, Access.ADMIN, wire.NamesRequest),
            "snapshot-restore": Verb(self._restore, Access.ADMIN, wire.RestoreRequest),
            "snapshot-diff": Verb(self._diff, Access.ADMIN, wire.DiffRequest),
            "schedules": Verb(self.keeper.schedules, Access.READ),
            "schedule-set": Verb(self.keeper.schedule_set, Access.ADMIN, wire.ScheduleRequest),
            "schedule-remove": Verb(self.keeper.schedule_remove, Access.ADMIN, wire.NameRequest),
            "list": Verb(self._list, Access.READ, wire.PathRequest),
            "stat": Verb(self._stat, Access.READ, wire.PathRequest),
            "read": Verb(self._read, Access.READ, wire.ReadRequest),
            "view": Verb(lambda request, ctx: self._showing.facts(), Access.READ),
        }

    def access(self, peer: Any) -> Access | None:
        return super().access(peer) or Access.READ

    def _snapshots(self, request: wire.SnapshotsRequest, ctx: CallContext) -> wire.SnapshotsReply:
        catalogue = self.operations.catalogue
        return self._listed(catalogue.match(request.names) if request.names else catalogue.records)

    def _listed(self, records: Any) -> wire.SnapshotsReply:
        return answers.listing(records, self.settings, self._space)

    def _info(self, request: wire.NameRequest, ctx: CallContext) -> wire.SnapshotInfo:
        record = self.operations.catalogue.get(request.name)
        return answers.info(record, self.settings, self._showing.place_of(record.name) if record.activated else None)

    async def _create(self, request: wire.CreateRequest, ctx: CallContext) -> wire.Snapshot:
        record = await self.operations.take(request.name, "operator", request.activate, request.description)
        return answers.snapshot(record)

    async def _activate(self, request: wire.NamesRequest, ctx: CallContext) -> wire.SnapshotsReply:
        return self._listed(await self.operations.activate(request.names, True))

    async def _deactivate(self, request: wire.NamesRequest, ctx: CallContext) -> wire.SnapshotsReply:
        return self._listed(await self.operations.activate(request.names, False))

    async def _delete(self, request: wire.NamesRequest, ctx: CallContext) -> wire.SnapshotsReply:
        return self._listed(await self.operations.delete(request.names))

    async def _restore(self, request: wire.RestoreRequest, ctx: CallContext) -> wire.RestoreReply:
        return await self.operations.restore(request)

    async def _diff(self, request: wire.DiffRequest, ctx: CallContext) -> wire.DiffReply:
        return await self.operations.diff(request)

    # --- files, as the caller may

    def _shown(self, name: str) -> Exposed:
        record = self.operations.catalogue.get(name)
        if not record.activated:
            raise BadInput(f"cannot look into snapshot {name}: it is not activated", name=name)
        return answers.exposed(record)

    async def _list(self, request: wire.PathRequest, ctx: CallContext) -> wire.ListReply:
        return await self._reader.list(request, self._shown(request.name), ctx.peer)

    async def _stat(self, request: wire.PathRequest, ctx: CallContext) -> wire.Entry:
        return await self._reader.stat(request, self._shown(request.name), ctx.peer)

    async def _read(self, request: wire.ReadRequest, ctx: CallContext) -> wire.ReadReply:
        return await self._reader.read(request, self._shown(request.name), ctx.peer)

    # --- facts

    def statistics(self) -> Mapping[str, Any]:
        facts = {"view": self._showing.facts(), "schedules": self.keeper.statistics()}
        return {**answers.statistics(self.operations, self._space), **facts}


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
