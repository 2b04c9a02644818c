"""Keeps the ledger true: turns the event stream into facts, and facts back into a service's memory."""

from __future__ import annotations

from svcmgr.clock import Clock
from svcmgr.host.facts import Fact
from svcmgr.host.store import Ledger
from svcmgr.proc import ExitStatus, Identity
from svcmgr.svc import Goal, LastExit, Service, State, events

#: A tail kept in the ledger is cut to this many characters.
_TAIL_LIMIT = 2000


class Recorder:
    """A sink of the supervisor."""

    def __init__(self, ledger: Ledger, clock: Clock, services: dict[str, Service]) -> None:
        self.ledger = ledger
        self._clock = clock
        self._services = services

    def __call__(self, stamped: events.Stamped) -> None:
        """Record what a later svcmgrd has to know."""
        event = stamped.event
        if isinstance(event, events.HasProcess):
            self._began(event, stamped.at)
        elif isinstance(event, events.BecameReady):
            self._update(event.name, ready=True)
        elif isinstance(event, events.Exited):
            self._ended(event, stamped.at)
        elif isinstance(event, events.Finished | events.GaveUp):
            self._came_to_rest(event)
        elif isinstance(event, events.DefinitionChanged) and event.action == "remove":
            self.ledger.forget(event.name)

    def _began(self, event: events.HasProcess, at: float) -> None:
        fact = self.ledger.fact(event.name)
        service = self._services.get(event.name)
        if isinstance(event, events.Spawned):
            # What is ready as soon as it is spawned needs no second line to say so.
            fact.ready = service is not None and not service.ready().kind.waits
            fact.at, fact.mono = at, self._clock.monotonic()
        fact.pid, fact.ticks, fact.boot_id = event.pid, event.start_ticks, event.boot_id
        fact.incarnation, fact.digest, fact.settled = event.incarnation, event.spec_hash, ""
        if service is not None:
            fact.restarts, fact.kind = service.restarts, service.spec.kind
        self.ledger.write(fact)

    def _ended(self, event: events.Exited, at: float) -> None:
        fact = self.ledger.fact(event.name)
        fact.pid, fact.ready = 0, False
        fact.exit_at, fact.exit_uptime, fact.exit_tail = at, event.uptime_s, event.log_tail[-_TAIL_LIMIT:]
        last = service.last_exit if (service := self._services.get(event.name)) is not None else None
        if last is not None:
            fact.exit_code, fact.exit_signal, fact.exit_core = last.status.code, last.status.signal, last.status.core
        self.ledger.write(fact)

    def _update(self, key: str, *, ready: bool | None = None, settled: str | None = None, reason: str = "") -> None:
        fact = self.ledger.fact(key)
        if ready is not None:
            if fact.ready == ready:
                return
            fact.ready = ready
        if settled is not None:
            fact.settled, fact.reason = settled, reason
        self.ledger.write(fact)

    def _came_to_rest(self, event: events.Finished | events.GaveUp) -> None:
        word = "failed" if isinstance(event, events.GaveUp) else "down"
        service = self._services.get(event.name)
        if service is not None and (service.goal is Goal.DOWN or not service.lifecycle.wanted):
            word = ""  # it was stopped; whether it starts again is up to the stored goal and the volumes
        self._update(event.name, settled=word, reason=event.text)

    def unsettle(self, key: str) -> None:
        """An operator wants it started: a svcmgrd that dies now must not take its last end for an answer."""
        fact = self.ledger.facts.get(key)
        if fact is not None and fact.settled:
            self._update(key, settled="")


def remember(service: Service, fact: Fact) -> None:
    """Give ``service`` the memory that outlived the last svcmgrd."""
    service.incarnation = fact.incarnation
    service.restarts = fact.restarts
    if fact.exit_at:
        status = ExitStatus(code=fact.exit_code, signal=fact.exit_signal, core=fact.exit_core)
        service.last_exit = LastExit(fact.exit_at, status, fact.exit_uptime, fact.exit_tail)


def recorded_identity(fact: Fact) -> Identity | None:
    """The process the last svcmgrd knew, if any."""
    return Identity(pid=fact.pid, start_ticks=fact.ticks, boot_id=fact.boot_id) if fact.pid else None


def settled_state(fact: Fact) -> State | None:
    """Where the service had come to rest while its goal was UP, or None."""
    return {"failed": State.FAILED, "down": State.DOWN}.get(fact.settled)
