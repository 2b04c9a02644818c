"""Load, adopt, reconcile: from what is on disk and in the process table to a running supervisor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from svcmgr.errors import StorageFailed, SvcmgrError
from svcmgr.host.commander import Commander
from svcmgr.host.facts import Fact
from svcmgr.host.recorder import recorded_identity, remember, settled_state
from svcmgr.host.reread import without_cycles
from svcmgr.host.store import Ledger
from svcmgr.proc import Identity, Os
from svcmgr.svc import MARK_INCARNATION, Goal, Past, Service, ServiceSpec, State, Supervisor, events
from svcmgr.svc.volumes import refresh


def boot(commander: Commander, ledger: Ledger) -> Callable[[], Awaitable[None]]:
    """Own all services and adopt what runs. Returns the step that starts what should run and does not."""
    supervisor = commander.supervisor
    specs, commander.invalid = without_cycles({}, *commander.load())
    services = _make_all(commander, specs)
    supervisor.volumes = commander.volumes.store.volumes
    supervisor.take(services)
    now_boot = commander.seams.os.boot_id()
    same_boot = commander.store.intent.boot_id == now_boot
    found = commander.seams.os.marked(str(commander.layout.run))
    goals: dict[str, str | None] = {}
    rested: set[str] = set()
    for key, service in services.items():
        fact = ledger.facts.get(key, Fact(key))
        remember(service, fact)
        goals[key] = _goal(commander, service, same_boot=same_boot).value
        service.lifecycle.goal = Goal(goals[key])
        if _adopt(service, fact, found.get(key, []), now_boot):
            rested.add(key)
    for text in (*commander.troubles, *_ledger_troubles(ledger)):
        supervisor.emit(events.Troubled("", text))
    return lambda: _start(commander, goals, now_boot, rested)


def _ledger_troubles(ledger: Ledger) -> list[str]:
    return [f"skipped {ledger.skipped} unreadable lines of {ledger.path}"] if ledger.skipped else []


def _make_all(commander: Commander, specs: Mapping[str, ServiceSpec]) -> dict[str, Service]:
    services: dict[str, Service] = {}
    for key, spec in specs.items():
        try:
            services[key] = commander.make(spec)
        except SvcmgrError as error:
            commander.invalid[key] = error.message
    return services


def _goal(commander: Commander, service: Service, *, same_boot: bool) -> Goal:
    """Within one boot of the host the operator's last word holds; a new boot starts what is enabled."""
    stored = commander.store.intent.goals.get(service.key)
    if stored is not None and same_boot:
        return Goal.UP if stored == Goal.UP.value else Goal.DOWN
    return Goal.UP if commander.enabled(service) else Goal.DOWN


def _adopt(service: Service, fact: Fact, marked: list[Identity], boot_id: str) -> bool:
    """Take over what runs: the process that the ledger names, or a newer one that was not recorded any more.

    Returns whether the service is at rest by its own end, so that it is not to be started.
    """
    past = Past(fact.incarnation, fact.mono, fact.ready, fact.digest, fact.at)
    known = recorded_identity(fact)
    if known is not None and known.boot_id == boot_id and service.adopt(known, past):
        return False
    newer = next((i for i in marked if incarnation_of(service.seams.os, i.pid) > fact.incarnation), None)
    if newer is not None and service.adopt(newer, _unrecorded(service, newer)):
        return False
    if known is not None and known.boot_id == boot_id:
        service.died_unseen(past, marked[0] if marked else None)
        return service.state in (State.DOWN, State.BACKOFF, State.FAILED, State.STOPPING)
    state = settled_state(fact)
    if state is None or service.goal is Goal.DOWN:
        return False
    service.rest(state, fact.reason)
    return True


def _unrecorded(service: Service, identity: Identity) -> Past:
    # svcmgrd died between spawn and record, so the process is about as old as that death: its age is not worth more.
    seams = service.seams
    return Past(incarnation_of(seams.os, identity.pid), seams.clock.monotonic(), digest=service.spec.digest)


def incarnation_of(os: Os, pid: int) -> int:
    """The incarnation that a process of ours carries in its environment, 0 when it carries none."""
    prefix = MARK_INCARNATION.encode() + b"="
    for word in os.environ(pid).split(b"\0"):
        if word.startswith(prefix) and word[len(prefix) :].isdigit():
            return int(word[len(prefix) :])
    return 0


async def _start(commander: Commander, goals: dict[str, str | None], boot_id: str, rested: set[str]) -> None:
    supervisor = commander.supervisor
    try:
        await commander.store.commit(goals, boot_id=boot_id)
    except StorageFailed as error:
        # The goals in force came from the disk; not being able to write them again endangers nothing that runs.
        supervisor.emit(events.Troubled("", error.message))
    await _replace_changed(supervisor)
    await refresh(supervisor, [k for k, s in supervisor.services.items() if s.goal is Goal.UP and s.alive])
    up = [k for k, s in supervisor.services.items() if s.goal is Goal.UP and k not in rested]
    order = supervisor.graph.with_requirements(up)
    await supervisor.start([k for k in order if k in supervisor.services and k not in rested])
    await supervisor.stop(
        [k for k, s in supervisor.services.items() if s.alive and (s.goal is Goal.DOWN or not s.lifecycle.wanted)]
    )


async def _replace_changed(supervisor: Supervisor) -> None:
    """A process that was started from another definition is replaced, with the reason on record."""
    changed = [key for key, service in supervisor.services.items() if service.goal is Goal.UP and service.outdated]
    for key in changed:
        supervisor.emit(events.DefinitionChanged(key, "restart", "changed while svcmgrd was down"))
    await supervisor.rerun(changed)
