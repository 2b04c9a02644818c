"""The verbs of svcmgrd: each validates, makes intent durable, acts, waits, and answers.

Reading verbs answer from memory without waiting for anything, however busy the supervisor is; the rows of ``status``
are kept encoded until the service changes. Changing verbs serialize per service by the supervisor's queue, never
globally.
"""

from __future__ import annotations

import asyncio
import difflib
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from svcmgr.conn import Access, CallContext, Verb
from svcmgr.errors import BadInput, SvcmgrError, UnknownService
from svcmgr.host import wire
from svcmgr.host.commander import Commander
from svcmgr.host.rows import RowCache, show
from svcmgr.host.volfiles import Volfiles
from svcmgr.services.wire import VolfileRequest
from svcmgr.svc import Supervisor

#: Longest time a caller may ask a verb to wait, seconds.
_WAIT_MAX_S = 86400.0
_NAMES_MAX = 10_000


class Api:
    """The verb table and what it needs."""

    def __init__(self, supervisor: Supervisor, commander: Commander, volfiles: Volfiles, info: InfoMaker) -> None:
        self._supervisor = supervisor
        self._commander = commander
        self._registry = commander.registry
        self._volfiles = volfiles
        self._info = info
        self._rows = RowCache(supervisor.services, commander.enabled)

    def verbs(self) -> dict[str, Verb]:
        """Name -> handler; what each does is said in svcmgr.host.wire."""
        read, admin = Access.READ, Access.ADMIN
        return {
            "hello": Verb(self.hello, read, None),
            "status": Verb(self.status, read, wire.StatusRequest),
            "show": Verb(self.show, read, wire.NameRequest),
            "kinds": Verb(self.kinds, read, None),
            "events": Verb(self.events, read, wire.EventsRequest, deadline=_WAIT_MAX_S),
            "doctor": Verb(self.doctor, read, None),
            "volfile": Verb(self.volfile, read, VolfileRequest),
            "start": Verb(self.start, admin, wire.ActionRequest, deadline=_WAIT_MAX_S),
            "stop": Verb(self.stop, admin, wire.ActionRequest, deadline=_WAIT_MAX_S),
            "restart": Verb(self.restart, admin, wire.ActionRequest, deadline=_WAIT_MAX_S),
            "reload": Verb(self.reload, admin, wire.ActionRequest),
            "enable": Verb(self.enable, admin, wire.ActionRequest),
            "disable": Verb(self.disable, admin, wire.ActionRequest),
            "add": Verb(self.add, admin, wire.AddRequest, deadline=_WAIT_MAX_S),
            "remove": Verb(self.remove, admin, wire.RemoveRequest, deadline=_WAIT_MAX_S),
            "plan": Verb(self.plan, read, None),
            "reread": Verb(self.reread, admin, None, deadline=_WAIT_MAX_S),
            "shutdown": Verb(self.shutdown, admin, wire.ShutdownRequest, deadline=_WAIT_MAX_S),
        }

    # --- reading -------------------------------------------------------------------------------------------

    def hello(self, _: None, ctx: CallContext) -> wire.DaemonInfo:
        return self._info(ctx.access.name.lower())

    def status(self, request: wire.StatusRequest, ctx: CallContext) -> dict[str, Any]:
        names = self._match(request.names) if request.names else list(self._supervisor.services)
        return {
            "svcmgrd": self._info(ctx.access.name.lower()),
            "monotonic": self._supervisor.clock.monotonic(),
            "services": self._rows.rows(names, paths=request.paths),
        }

    def show(self, request: wire.NameRequest, ctx: CallContext) -> dict[str, Any]:
        (key,) = self._match([request.name], single=True)
        service = self._supervisor.find(key)
        enabled = self._commander.enabled(service)
        facts = show(service, self._supervisor, enabled=enabled, secrets=ctx.access is Access.ADMIN)
        return {**facts, "log_rotation": self._commander.rotation(key)}

    def kinds(self, _: None, ctx: CallContext) -> list[wire.KindInfo]:
        return [wire.KindInfo(k.name, k.summary, k.source, k.error) for k in self._registry.kinds()]

    async def events(self, request: wire.EventsRequest, ctx: CallContext) -> wire.EventsReply:
        ring = self._supervisor.ring
        cursor = ring.next_seq - 1 if request.since < 0 else request.since
        names = self._match(request.names) if request.names else []
        limit = max(1, min(request.limit, 10_000))
        try:
            async with asyncio.timeout(min(max(request.wait_s, 0.0), _WAIT_MAX_S)):
                while not ring.since(cursor, names, 1)[0] and request.wait_s > 0:
                    await self._supervisor.next_event()
        except TimeoutError:
            pass
        found, following, lost = ring.since(cursor, names, limit)
        rows = [wire.EventRow(s.seq, s.at, s.event.what, s.event.name, s.event.fields()) for s in found]
        return wire.EventsReply(rows, following, lost)

    def doctor(self, _: None, ctx: CallContext) -> list[wire.Finding]:
        return self._commander.findings()

    def volfile(self, request: VolfileRequest, ctx: CallContext) -> msgspec.Raw:
        """The volfile of exactly this id; a daemon may ask for its own or any other."""
        return self._volfiles.serve(request, ctx.peer)

    # --- changing ------------------------------------------------------------------------------------------

    async def start(self, request: wire.ActionRequest, ctx: CallContext) -> wire.ActionReply:
        return await self._act(request, self._commander.start)

    async def stop(self, request: wire.ActionRequest, ctx: CallContext) -> wire.ActionReply:
        return await self._act(request, self._commander.stop)

    async def restart(self, request: wire.ActionRequest, ctx: CallContext) -> wire.ActionReply:
        return await self._act(request, self._commander.restart)

    async def _act(self, request: wire.ActionRequest, command: Command) -> wire.ActionReply:
        keys = self._match(request.names)
        timeout = _timeout(request.timeout_s) if request.wait else 0.0
        return wire.ActionReply(await self._supervisor.outlive(command(keys, timeout)))

    def reload(self, request: wire.ActionRequest, ctx: CallContext) -> wire.ActionReply:
        outcomes = []
        for key in self._match(request.names):
            try:
                text = self._supervisor.find(key).reconfigure()
                outcomes.append(wire.Outcome(key, "reloaded", text=text))
            except SvcmgrError as error:
                outcomes.append(wire.Outcome(key, "failed", ok=False, text=error.message, code=error.code))
        return wire.ActionReply(outcomes)

    async def enable(self, request: wire.ActionRequest, ctx: CallContext) -> wire.ActionReply:
        return wire.ActionReply(await self._mark(request, enabled=True))

    async def disable(self, request: wire.ActionRequest, ctx: CallContext) -> wire.ActionReply:
        return wire.ActionReply(await self._mark(request, enabled=False))

    async def _mark(self, request: wire.ActionRequest, *, enabled: bool) -> list[wire.Outcome]:
        return await self._supervisor.outlive(self._commander.mark(self._match(request.names), enabled=enabled))

    async def add(self, request: wire.AddRequest, ctx: CallContext) -> wire.ActionReply:
        work = self._commander.add(request, _timeout(request.timeout_s))
        return wire.ActionReply(await self._supervisor.outlive(work))

    async def remove(self, request: wire.RemoveRequest, ctx: CallContext) -> wire.ActionReply:
        keys = self._match(request.names, also=self._commander.invalid)
        work = self._commander.remove(keys, stop=request.stop, timeout_s=_timeout(request.timeout_s))
        return wire.ActionReply(await self._supervisor.outlive(work))

    async def plan(self, _: None, ctx: CallContext) -> wire.ReloadReply:
        return wire.ReloadReply((await self._commander.plan()).changes)

    async def reread(self, _: None, ctx: CallContext) -> wire.ReloadReply:
        return await self._supervisor.outlive(self._commander.reread())

    async def shutdown(self, request: wire.ShutdownRequest, ctx: CallContext) -> wire.ShutdownReply:
        return await self._commander.shutdown(stop_all=request.all, timeout_s=_timeout(request.timeout_s))

    # --- names ---------------------------------------------------------------------------------------------

    def _match(self, patterns: list[str], *, single: bool = False, also: Iterable[str] = ()) -> list[str]:
        """The keys for names and globs, in the order given, each once. Raises UnknownService, BadInput."""
        if len(patterns) > _NAMES_MAX:
            raise BadInput(f"cannot take {len(patterns)} names at once, the limit is {_NAMES_MAX}")
        known = dict.fromkeys([*self._supervisor.services, *also])
        found: dict[str, None] = {}
        unknown: list[str] = []
        for pattern in patterns:
            if pattern in known:
                found[pattern] = None
            elif not single and (hits := fnmatch.filter(known, pattern) if set(pattern) & set("*?[") else []):
                found.update(dict.fromkeys(hits))
            else:
                unknown.append(pattern)
        if unknown:
            raise _unknown(unknown, known)
        return list(found)


InfoMaker = Callable[[str], wire.DaemonInfo]
Command = Callable[[list[str], float], Any]


def _unknown(names: list[str], known: Mapping[str, None]) -> UnknownService:
    near = {name: difflib.get_close_matches(name[:200], known, 3, 0.5) for name in names}
    hints = [
        f"{name[:100]!r}" + (f" (did you mean {', '.join(found)}?)" if found else "") for name, found in near.items()
    ]
    listed = ", ".join(list(known)[:20]) or "none"
    return UnknownService(
        f"cannot find service {', '.join(hints)}; known: {listed}" + (", ..." if len(known) > 20 else ""),
        near=near,
    )


def _timeout(seconds: float) -> float:
    if not 0 <= seconds <= _WAIT_MAX_S:
        raise BadInput(f"cannot wait {seconds} s: give 0 to {_WAIT_MAX_S:g}")
    return seconds
