"""What svcmgrd does when it is told to: intent on disk first, then the supervisor, then the wait.

The order is the same in every command. The names are known; the goals that follow from them (requirements of a start,
dependents of a stop) are made durable in one write; only then is the supervisor asked; the answer comes from judges
when the services have got there, or when the caller's time is up. A disk that refuses the write ends the command with
the old intent in force and every daemon untouched.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable

from svcmgr.errors import AlreadyExists, BadDefinition, BadInput, SvcmgrError
from svcmgr.host import wire
from svcmgr.host.definitions import load_all, parse, save
from svcmgr.host.doctor import examine
from svcmgr.host.recorder import Recorder
from svcmgr.host.reread import Plan, make_plan, without_cycles
from svcmgr.host.store import IntentStore
from svcmgr.host.volumes import Volumes, volume_specs
from svcmgr.paths import Layout, check_key
from svcmgr.svc import Goal, Result, Seams, Service, ServiceSpec, State, Supervisor, judge_start, judge_stop
from svcmgr.svc.events import DefinitionChanged
from svcmgr.svc.lifecycle import ACTIVE
from svcmgr.svc.results import Judge


class Commander:
    """One per svcmgrd."""

    def __init__(
        self, supervisor: Supervisor, seams: Seams, volumes: Volumes, store: IntentStore, recorder: Recorder
    ) -> None:
        self.supervisor = supervisor
        self.seams = seams
        self.registry = volumes.registry
        self.store = store
        self.recorder = recorder
        #: definitions that could not be loaded: name -> reason
        self.invalid: dict[str, str] = {}
        #: the host's volumes, which services of some kinds live by
        self.volumes = volumes
        # Definitions change one command at a time; starting and stopping what they define does not wait for that.
        self._defining = asyncio.Lock()
        #: how the log of a service is rotated
        self.rotation: Callable[[str], str | None] = lambda key: None
        #: called to end svcmgrd
        self.end: Callable[[], None] = _nobody

    @property
    def layout(self) -> Layout:
        return self.seams.layout

    def enabled(self, service: Service) -> bool:
        """Whether it is started at boot: the operator's mark, else its definition's."""
        return self.store.intent.enabled.get(service.key, service.spec.enabled)

    def make(self, spec: ServiceSpec) -> Service:
        """A service object of the kind that ``spec`` names. Raises UnknownKind, BadDefinition."""
        return self.registry.find(spec.kind)(spec, self.seams)

    @property
    def troubles(self) -> list[str]:
        """What could not be read at the start."""
        return [*self.store.troubles, *self.volumes.store.troubles]

    def load(self) -> tuple[dict[str, ServiceSpec], dict[str, str]]:
        """(all definitions, what is wrong with the others): the operator's files, and what the volumes bring along."""
        specs, invalid = load_all(self.layout.definitions, self.registry)
        made = volume_specs(self.volumes.store.volumes, self.registry)
        found = {**{key: spec for key, spec in made.items() if key not in invalid}, **specs}
        return dict(sorted(found.items())), invalid

    def findings(self) -> list[wire.Finding]:
        """What ``doctor`` shows."""
        known = self.store, self.recorder.ledger, self.volumes.store
        return examine(self.supervisor, self.layout, self.invalid, *known)

    # --- goals -----------------------------------------------------------------------------------------

    async def start(self, keys: list[str], timeout_s: float) -> list[wire.Outcome]:
        """Goal UP for ``keys`` and all they require."""
        closure = [k for k in self.supervisor.graph.with_requirements(keys) if k in self.supervisor.services]
        await self.store.commit(dict.fromkeys(closure, Goal.UP.value))
        running = {k for k in keys if self.supervisor.find(k).state is State.RUNNING}
        for key in closure:
            self.recorder.unsettle(key)
        self.supervisor.want(closure, Goal.UP)
        judges = {k: self._start_judge(k, "already-running" if k in running else "started") for k in keys}
        errors = await self.supervisor.start(closure)
        return await self._outcomes(keys, judges, errors, timeout_s, "starting")

    def _start_judge(self, key: str, word: str) -> Judge:
        service = self.supervisor.find(key)
        return judge_start(service, functools.partial(self.supervisor.hopeless, service), word)

    async def stop(self, keys: list[str], timeout_s: float) -> list[wire.Outcome]:
        """Goal DOWN for ``keys`` and all that require them."""
        closure = [k for k in self.supervisor.graph.with_dependents(keys) if k in self.supervisor.services]
        touched = [k for k in closure if k in keys or self.supervisor.find(k).state is not State.DOWN]
        await self.store.commit(dict.fromkeys(closure, Goal.DOWN.value))
        judges = {k: self._stop_judge(k) for k in touched}
        self.supervisor.want(closure, Goal.DOWN)
        errors = await self.supervisor.stop(closure)
        return await self._outcomes(touched, judges, errors, timeout_s, "stopping")

    def _stop_judge(self, key: str) -> Judge:
        service = self.supervisor.find(key)
        return judge_stop(service, was_down=not service.present and service.state not in ACTIVE)

    async def restart(self, keys: list[str], timeout_s: float) -> list[wire.Outcome]:
        """A fresh process for each of ``keys``; what they require is started when it is down."""
        closure = [k for k in self.supervisor.graph.with_requirements(keys) if k in self.supervisor.services]
        await self.store.commit(dict.fromkeys(closure, Goal.UP.value))
        for key in closure:
            self.recorder.unsettle(key)
        self.supervisor.want(closure, Goal.UP)
        judges = {k: self._start_judge(k, "restarted") for k in keys}
        errors = await self.supervisor.start([k for k in closure if k not in keys])
        errors |= await self.supervisor.rerun(keys)
        return await self._outcomes(keys, judges, errors, timeout_s, "starting")

    async def _outcomes(
        self, keys: Iterable[str], judges: dict[str, Judge], errors: dict[str, SvcmgrError], timeout_s: float, word: str
    ) -> list[wire.Outcome]:
        judges = {key: judge for key, judge in judges.items() if key not in errors}
        results = await self.supervisor.results(judges, timeout_s) if timeout_s > 0 else _now(judges, word)
        failed = {k: Result(k, "failed", ok=False, text=e.message, code=e.code) for k, e in errors.items()}
        return [_outcome((results | failed)[k]) for k in keys if k in results or k in failed]

    async def mark(self, keys: list[str], *, enabled: bool) -> list[wire.Outcome]:
        """Enable or disable at boot."""
        await self.store.commit({}, dict.fromkeys(keys, enabled))
        for key in keys:
            self.supervisor.find(key).changed()
        return [wire.Outcome(k, "enabled" if enabled else "disabled") for k in keys]

    # --- definitions -----------------------------------------------------------------------------------

    async def add(self, request: wire.AddRequest, timeout_s: float) -> list[wire.Outcome]:
        """Validate, store the file, own the service, start it if asked."""
        key = request.name
        check_key(key)
        async with self._defining:
            spec = self._parse(key, request)
            old = self.supervisor.services.get(key)
            word = await self._define(request, spec, old)
        if not request.start:
            return [wire.Outcome(key, word)]
        if old is not None and old.alive and old.running_digest != spec.digest:
            return await self.restart([key], timeout_s)
        (outcome, *_) = await self.start([key], timeout_s)
        return [outcome]

    async def _define(self, request: wire.AddRequest, spec: ServiceSpec, old: Service | None) -> str:
        key = spec.key
        if (old is not None or key in self.invalid) and not request.replace:
            raise AlreadyExists(f"cannot add {key}: it is defined already; use --replace to overwrite it", name=key)
        if old is not None and old.spec.kind != spec.kind and (old.alive or old.state in ACTIVE):
            raise BadDefinition(f"cannot change the kind of {key} while it runs; stop it first")
        fresh = self.make(spec)
        self.supervisor.graph_with({key: fresh})  # refuses a cycle before anything is written
        if old is None and not request.start:
            # Within this boot of the host only a start starts it, also when svcmgrd is replaced; the next boot may.
            await self.store.commit({key: Goal.DOWN.value})
        await asyncio.to_thread(save, self.layout.definitions, key, request.definition)
        self.invalid.pop(key, None)
        word = self._take(key, fresh, spec)
        self.supervisor.regraph()
        return word

    def _parse(self, key: str, request: wire.AddRequest) -> ServiceSpec:
        try:
            return parse(key, request.definition, self.registry, self.layout.definitions / f"{key}.toml")
        except BadInput as error:
            raise BadDefinition(f"cannot add {key}: {error.message}", **error.details) from error

    def _take(self, key: str, fresh: Service, spec: ServiceSpec) -> str:
        old = self.supervisor.services.get(key)
        if old is None:
            self.supervisor.add(fresh)
            return "added"
        if old.spec == spec:
            return "unchanged"
        if old.spec.kind != spec.kind:
            self.supervisor.remove(key)
            self.supervisor.add(fresh)
        else:
            old.redefine(spec)
            self.supervisor.emit(DefinitionChanged(key, "replace"))
        return "replaced"

    async def remove(self, keys: list[str], *, stop: bool, timeout_s: float) -> list[wire.Outcome]:
        """Forget definitions; a running service is refused unless ``stop``."""
        owned = [k for k in keys if k in self.supervisor.services]
        outcomes = {}
        if stop and owned:
            outcomes = {o.name: o for o in await self.stop(owned, timeout_s)}
        async with self._defining:
            for key in keys:
                if outcomes.get(key, _FINE).ok:
                    outcomes[key] = await self._remove_one(key)
        return list(outcomes.values())

    async def _remove_one(self, key: str) -> wire.Outcome:
        service = self.supervisor.services.get(key)
        source = service.spec.source if service is not None else self.layout.definitions / f"{key}.toml"
        try:
            if service is not None:
                self.volumes.check_removable(service)
                self.supervisor.check_removable(service)
            await self.store.commit({key: None}, {key: None})  # first: what cannot be forgotten is not removed
            if service is not None:
                self.supervisor.remove(key)
            if source is not None:
                source.unlink(missing_ok=True)
            self.invalid.pop(key, None)
        except SvcmgrError as error:
            return wire.Outcome(key, "failed", ok=False, text=error.message, code=error.code)
        except OSError as error:
            return wire.Outcome(key, "failed", ok=False, text=f"cannot remove {source}: {error.strerror}")
        return wire.Outcome(key, "removed")

    async def plan(self) -> Plan:
        """What reading the definitions again would change."""
        specs, invalid = await asyncio.to_thread(self.load)
        services = self.supervisor.services
        return make_plan(services, *without_cycles(services, specs, invalid))

    async def reread(self) -> wire.ReloadReply:
        """Read the definitions again and touch only what changed."""
        async with self._defining:
            plan, outcomes = await self._redefine()
        start = [k for k in plan.added if k in self.supervisor.services and self.enabled(self.supervisor.find(k))]
        if start:
            outcomes += await self.start(start, 60.0)
        if restart := [k for k in plan.restarted if k in self.supervisor.services]:
            outcomes += await self.restart(restart, 60.0)
        return wire.ReloadReply(plan.changes, outcomes)

    async def _redefine(self) -> tuple[Plan, list[wire.Outcome]]:
        plan = await self.plan()
        outcomes: list[wire.Outcome] = []
        self.invalid = dict(plan.invalid)
        if plan.removed:
            outcomes += await self.stop(plan.removed, 60.0)
        for key in plan.removed:
            if self.supervisor.find(key).state is State.DOWN:
                outcomes.append(await self._remove_one(key))
        # What is there already first: only with all of those changed is the order of the new ones free of cycles.
        for key in sorted(plan.specs, key=self._is_new_kind(plan)):
            outcomes += self._apply(key, plan.specs[key])
        self.supervisor.regraph()
        return plan, outcomes

    def _is_new_kind(self, plan: Plan) -> Callable[[str], bool]:
        services = self.supervisor.services
        return lambda key: key not in services or services[key].spec.kind != plan.specs[key].kind

    def _apply(self, key: str, spec: ServiceSpec) -> list[wire.Outcome]:
        try:
            self._take(key, self.make(spec), spec)
        except SvcmgrError as error:
            self.invalid[key] = error.message
            return [wire.Outcome(key, "failed", ok=False, text=error.message, code=error.code)]
        return []

    # --- the end ---------------------------------------------------------------------------------------

    async def shutdown(self, *, stop_all: bool, timeout_s: float) -> wire.ShutdownReply:
        """End svcmgrd; with ``stop_all`` its services first, dependents before what they require.

        The stored goals stay: what was up is started again by the next svcmgrd.
        """
        stopped: list[wire.Outcome] = []
        if stop_all:
            keys = [k for k, s in self.supervisor.services.items() if s.state is not State.DOWN or s.alive]
            judges = {k: self._stop_judge(k) for k in keys}
            self.supervisor.want(keys, Goal.DOWN, by="shutdown")
            errors = await self.supervisor.stop(self.supervisor.graph.with_dependents(keys))
            stopped = await self._outcomes(keys, judges, errors, timeout_s, "stopping")
        stays = self.supervisor.living()
        self.end()
        return wire.ShutdownReply(stopped, stays)


_FINE = wire.Outcome("", "stopped")


def _nobody() -> None:
    """Nothing to end yet."""


def _now(judges: dict[str, Judge], word: str) -> dict[str, Result]:
    """What can be said at once, when the caller does not wait."""
    return {key: judge.look() or Result(key, word) for key, judge in judges.items()}


def _outcome(result: Result) -> wire.Outcome:
    return wire.Outcome(result.key, result.word, result.ok, result.text, result.code, result.pid, result.log_tail)
