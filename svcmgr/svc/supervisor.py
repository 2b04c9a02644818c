"""The loop that owns all services: the single writer of their state.

Theory of operation. Everything that can change a service (a command, an exit, a timer, a connection event) is an
action on one queue, run to completion in order, never awaited. When the queue is empty the services that changed are
looked at once more: those that wait for them are released or told why not, and commands waiting for a result are
woken. There is no lock, no tick and no "one command at a time": ten starts of one service share one attempt, and a
stop during a start is just the next event.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from svcmgr.clock import Clock
from svcmgr.errors import Busy, SvcmgrError, UnknownService
from svcmgr.svc import events
from svcmgr.svc.graph import Graph
from svcmgr.svc.lifecycle import ACTIVE, Goal, State
from svcmgr.svc.results import Judge, Result, Waiter
from svcmgr.svc.service import Service

#: How long the queue is carried out before others get the loop, in seconds: what a status call may wait.
_SLICE_S = 0.004

#: Who waits for a service in one of these waits in vain.
_RESTING = (State.DOWN, State.BACKOFF, State.FAILED)

T = TypeVar("T")

Sink = Callable[[events.Stamped], None]


class Supervisor:
    """Owns services, their order and their events. Use as an async context manager."""

    def __init__(self, clock: Clock, ring: events.EventRing, on_bug: Callable[[Exception], None]) -> None:
        """``on_bug`` gets exceptions that are our fault. Add to ``sinks`` what has to see every event as it happens."""
        self.clock = clock
        self.ring = ring
        self.services: dict[str, Service] = {}
        self.volumes: Mapping[str, Any] = {}
        self.graph = Graph({})
        self.sinks: list[Sink] = []
        self._on_bug = on_bug
        self._queue: deque[Callable[[], None]] = deque()
        self._busy = False
        self._dirty: dict[str, None] = {}
        self._waiters: dict[Waiter, None] = {}  # a dict for its order: who came first is answered first
        self._event_waiters: set[asyncio.Future[None]] = set()
        self._commands: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Supervisor:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends probes and timers; processes stay as they are."""
        for command in self._commands:
            command.cancel()
        for service in self.services.values():
            await service.release()
        await self._group.__aexit__(kind, error, trace)

    # --- the listener: what services call --------------------------------------------------------------

    def post(self, action: Callable[[], None]) -> None:
        """Queue ``action``; when the queue is not being carried out, begin now."""
        self._queue.append(action)
        if not self._busy:
            self._drain()

    def _drain(self) -> None:
        """Carry the queue out for one slice of time; the loop serves everybody else between slices."""
        self._busy = True
        end = self.clock.monotonic() + _SLICE_S
        while self._queue or self._dirty:
            if self._queue:
                self._run_one(self._queue.popleft())
            else:
                self._settle(list(self._dirty))
            if self.clock.monotonic() >= end:
                asyncio.get_running_loop().call_soon(self._drain)
                return
        self._busy = False

    def _run_one(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # one service's fault must not stop the supervision of the others
            self._on_bug(error)
            self.emit(events.Troubled("", f"{type(error).__name__}: {error}"))

    def emit(self, event: events.Event) -> None:
        """Number ``event``, keep it, hand it to the sinks and wake those who wait for events."""
        stamped = self.ring.append(event, self.clock.utc())
        for sink in self.sinks:
            try:
                sink(stamped)
            except Exception as error:  # who only listens must not break what is going on
                self._on_bug(error)
        for waiter in self._event_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._event_waiters.clear()

    def changed(self, key: str) -> None:
        """Remember to look at those who care about ``key`` when the queue is empty."""
        self._dirty[key] = None
        if not self._busy:
            self.post(_nothing)

    def call_later(self, delay: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``action`` on the queue in ``delay`` seconds."""
        return asyncio.get_running_loop().call_later(delay, self.post, action)

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` beside the queue until it ends, is cancelled, or the supervisor ends."""
        return self._group.create_task(self._guarded(work), name=name)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # a probe that fails in an unforeseen way fails alone
            self._on_bug(error)
            self.emit(events.Troubled("", f"{type(error).__name__}: {error}"))

    # --- definitions -------------------------------------------------------------------------------------

    def regraph(self, extra: Mapping[str, Service] | None = None) -> None:
        """Take the order from the services as they are now. Raises DependencyCycle, which changes nothing."""
        self.graph = self.graph_with(extra or {})

    def graph_with(self, extra: Mapping[str, Service]) -> Graph:
        """The order there would be with ``extra``; keeps the one there is. Raises DependencyCycle."""
        return Graph({key: service.spec.links for key, service in {**self.services, **extra}.items()})

    def take(self, services: Mapping[str, Service]) -> None:
        """Own all of these at once, quietly: what a boot does. Raises DependencyCycle."""
        self.regraph(services)
        self.services.update(services)
        for service in services.values():
            service.look_at(self.volumes)

    def add(self, service: Service) -> None:
        """Own ``service``. Raises DependencyCycle; then it is not owned."""
        self.regraph({service.key: service})
        self.services[service.key] = service
        service.look_at(self.volumes)
        self.emit(events.DefinitionChanged(service.key, "add"))
        self.changed(service.key)

    def check_removable(self, service: Service) -> None:
        """Raises Busy while ``service`` has a process, or work to do."""
        if service.alive or service.state in ACTIVE:
            raise Busy(f"cannot remove {service.key}: it is {service.status.value}; stop it first")

    def remove(self, key: str) -> None:
        """Forget a service that is down. Raises Busy while it has a process, or work to do."""
        service = self.find(key)
        self.check_removable(service)
        if service.state is not State.DOWN:
            service.lifecycle.goal = Goal.DOWN
            service.stop()
        del self.services[key]
        service.seams.volfiles.withdraw(key)
        self.regraph()
        self.emit(events.DefinitionChanged(key, "remove"))
        self.changed(key)

    def find(self, key: str) -> Service:
        """The service of that name. Raises UnknownService."""
        service = self.services.get(key)
        if service is None:
            raise UnknownService(f"cannot find service {key!r}", name=key)
        return service

    def living(self) -> dict[str, int]:
        """The services whose main process lives, with its pid: what goes on when svcmgrd ends."""
        return {k: s.identity.pid for k, s in self.services.items() if s.alive and s.identity is not None}

    # --- commands ----------------------------------------------------------------------------------------

    def want(self, keys: Iterable[str], goal: Goal, by: str = "") -> None:
        """Set goals in memory; the caller has made them durable before."""
        found = (self.services.get(key) for key in keys)
        moved = [service for service in found if service is not None and service.goal is not goal]
        for service in moved:  # all of them before anybody looks: the order of stops depends on the goals of others
            service.lifecycle.goal = goal
        for service in moved:
            self.emit(events.GoalSet(service.key, goal.value, by))
            self.changed(service.key)

    async def start(self, keys: Iterable[str]) -> dict[str, SvcmgrError]:
        """Start what has goal UP among ``keys``, in order; those that must wait are held. Errors by key."""
        return await self._each(keys, self._start_one)

    def _start_one(self, service: Service) -> None:
        if service.goal is not Goal.UP or service.state in (State.RUNNING, State.STARTING):
            return
        service.look_at(self.volumes)
        if not service.lifecycle.wanted:
            return
        held, _ = self.held(service)
        if held and service.state is not State.STOPPING:
            service.hold(held)
        else:
            service.start()

    async def stop(self, keys: Iterable[str]) -> dict[str, SvcmgrError]:
        """Stop what has goal DOWN among ``keys``; each as soon as nothing that follows it runs."""
        return await self._each(keys, self._stop_one)

    def _stop_one(self, service: Service) -> None:
        if service.goal is Goal.DOWN and service.state is State.FAILED and service.present:
            service.stop()  # whatever made it unkillable may be over
        else:
            self.reconcile(service)

    async def rerun(self, keys: Iterable[str]) -> dict[str, SvcmgrError]:
        """Give each of ``keys`` a fresh process."""

        def one(service: Service) -> None:
            service.look_at(self.volumes)
            if not service.lifecycle.wanted:
                return
            held, _ = self.held(service)
            if held and service.state not in ACTIVE:
                service.hold(held)
            else:
                service.rerun()

        return await self._each(keys, one)

    async def _each(self, keys: Iterable[str], act: Callable[[Service], None]) -> dict[str, SvcmgrError]:
        """Queue ``act`` for each of ``keys`` and return when the last one was carried out."""
        errors: dict[str, SvcmgrError] = {}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def one(key: str) -> None:
            service = self.services.get(key)
            if service is None:
                return
            try:
                act(service)
            except SvcmgrError as error:
                errors[key] = error

        for key in list(keys):
            self.post(functools.partial(one, key))
        self.post(lambda: None if done.done() else done.set_result(None))
        await done
        return errors

    # --- order -------------------------------------------------------------------------------------------

    def held(self, service: Service) -> tuple[str, bool]:
        """(why its start has to wait or "", whether waiting is hopeless as things stand)."""
        waits: list[str] = []
        for other in service.spec.links.requires:
            found = self.services.get(other)
            if found is None:
                return f"requires {other}, which is not defined", True
            if found.state in (State.FAILED, State.BACKOFF) or (found.state is State.DOWN and found.goal is Goal.DOWN):
                return f"requires {other}, which is {found.status.value}", True
            if found.state is not State.RUNNING:
                waits.append(other)
        for other in service.spec.links.after:
            found = self.services.get(other)
            if found is not None and found.goal is Goal.UP and found.state in (State.WAITING, State.STARTING):
                waits.append(other)
        return ("waits for " + ", ".join(dict.fromkeys(waits)) if waits else ""), False

    def why_held(self, key: str) -> str:
        """Why a start of service ``key`` has to wait for others now, or ""."""
        service = self.services.get(key)
        return self.held(service)[0] if service is not None else ""

    def hopeless(self, service: Service) -> str:
        """Why waiting for a start of ``service`` is in vain as things stand, however far down, or ""."""
        stack, seen = [service], {service.key}
        while stack:
            one = stack.pop()
            why, lost = self.held(one)
            if lost:
                return why if one is service else f"waits for {one.key}, which {why}"
            for other in one.spec.links.requires:
                found = self.services.get(other)
                if found is not None and found.state is State.WAITING and other not in seen:
                    seen.add(other)
                    stack.append(found)
        return ""

    def reconcile(self, service: Service) -> None:
        """Call its manager with what there is now; on the queue."""
        if service.goal is Goal.UP:
            held, _ = self.held(service) if service.state in (State.WAITING, State.DOWN) else ("", False)
            service.manager(self.volumes, held=held)
            return
        followers = (self.services.get(key) for key in self.graph.followers(service.key))
        waiting = any(f is not None and f.goal is Goal.DOWN and f.state in ACTIVE for f in followers)
        service.manager(self.volumes, unstoppable=waiting)

    def _settle(self, keys: list[str]) -> None:
        """Look at everyone who cares about ``keys``, then wake the waiting commands."""
        self._dirty.clear()
        touched = dict.fromkeys(keys)
        for key in keys:
            for other in (*self.graph.followers(key), *self.graph.before(key)):
                service = self.services.get(other)
                if service is not None and service.state is not State.DOWN:
                    self._run_one(functools.partial(self.reconcile, service))
                    touched[other] = None
        touched.update(dict.fromkeys(self._behind(keys)))
        for waiter in self._waiters:
            waiter.touch(touched)

    def _behind(self, keys: Iterable[str]) -> set[str]:
        """Those whose wait became hopeless because one of ``keys`` does not run any more, also through others."""
        stack = [k for k in keys if self._waiters and (k not in self.services or self.services[k].state in _RESTING)]
        found: set[str] = set()
        while stack:
            for other in self.graph.followers(stack.pop()):
                service = self.services.get(other)
                if service is not None and service.state is State.WAITING and other not in found:
                    found.add(other)
                    stack.append(other)
        return found

    # --- waiting -----------------------------------------------------------------------------------------

    async def results(self, judges: Mapping[str, Judge], timeout_s: float) -> dict[str, Result]:
        """Wait until every judge has spoken, at most ``timeout_s``; then the rest get what ``Judge.late`` says."""
        waiter = Waiter(dict(judges))
        self._waiters[waiter] = None
        try:
            async with asyncio.timeout(timeout_s):
                while waiter.look():
                    await waiter.wait()
        except TimeoutError:
            waiter.give_up()
        finally:
            self._waiters.pop(waiter, None)
        return waiter.results

    async def outlive(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which is carried to its end even if whoever waits here is cancelled.

        A command that has begun is not undone because its client hangs up: what is on disk and what is done stay one.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def carry() -> None:
            try:
                result = await work
            except Exception as error:
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)
            finally:
                done.cancel()

        task = self._group.create_task(carry(), name="command")
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)
        return await done

    async def next_event(self) -> None:
        """Return at the next event."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._event_waiters.add(future)
        try:
            await future
        finally:
            self._event_waiters.discard(future)


def _nothing() -> None:
    """Queued to have the queue carried out."""
