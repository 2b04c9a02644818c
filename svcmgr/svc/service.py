"""The service object: a connection, a process, an online status, and the hooks that a daemon type overrides.

A subclass gives *answers*: class facts (``kind``, ``restart``, ``readiness``, ``stop_grace``, ``frame_timeout``) and
the pure methods ``wanted``, ``argv``, ``volfile``, ``ready``, ``environment``. The *order* of things (init once,
volfile if changed, spawn, connect, ready, back-off, stop) is here and in the lifecycle table, once for all.

Everything that happens to a service enters through :meth:`Service.feed`, on the supervisor's queue, one event at a
time; the table answers with effects, and each effect is one short method. The methods never wait.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs

from svcmgr.conn import Connected, Connection, ConnEvent, ConnSpec, ConnState, Disconnected, Hung, Recovered
from svcmgr.errors import BadDefinition, PidfileHeld, PidfileUnusable, SpawnFailed, StopFailed, SvcmgrError
from svcmgr.paths import socket_path
from svcmgr.proc import ExitStatus, Identity, Process, ProcSpec
from svcmgr.svc import events, launch
from svcmgr.svc.backoff import Backoff
from svcmgr.svc.lifecycle import ACTIVE, Cause, Do, Ending, Ev, Goal, Lifecycle, Restart, State
from svcmgr.svc.readying import Readying
from svcmgr.svc.seams import Seams
from svcmgr.svc.spec import Readiness, ReadyKind, ServiceSpec
from svcmgr.svc.status import Link, Status, derive


@attrs.frozen
class Past:
    """What the last svcmgrd knew of a process. ``started`` is CLOCK_MONOTONIC seconds."""

    incarnation: int
    started: float
    ready: bool = False
    digest: str = ""


@attrs.frozen
class LastExit:
    """The last end of a process of this service. ``at`` is UTC seconds, ``uptime_s`` seconds."""

    at: float
    status: ExitStatus
    uptime_s: float
    log_tail: str


class Service:
    """Base of all service kinds. Subclass it, set the facts, give the answers; see docs/daemons.md."""

    kind: ClassVar[str] = ""
    restart: ClassVar[Restart] = Restart.ON_FAILURE
    #: readiness rule used when the definition names none (docs/cli.md, "ready")
    readiness: ClassVar[str] = "ping"
    #: seconds between the stop signal and SIGKILL
    stop_grace: ClassVar[float] = 10.0
    #: seconds a call to the daemon may take
    frame_timeout: ClassVar[float] = 10.0
    #: whether the daemon serves svcmgr's RPC on a unix socket and takes the standard flags
    speaks: ClassVar[bool] = True

    def __init__(self, spec: ServiceSpec, seams: Seams) -> None:
        """Pure memory; nothing outside is touched before the first :meth:`manager`."""
        self.check(spec)
        self.spec = spec
        self.seams = seams
        self.lifecycle = Lifecycle(spec.restart, Backoff(spec.backoff, seams.rng))
        self.process: Process | None = None
        self.conn: Connection | None = None
        self.readying: Readying | None = None
        self.incarnation = 0
        self.restarts = 0
        self.reason = ""
        self.told = ""
        self.last_exit: LastExit | None = None
        self.running_digest = ""
        self.since = seams.clock.utc()
        #: CLOCK_MONOTONIC seconds at which the present or last process began
        self.started = 0.0
        self._timer: Any = None
        #: grows with every visible change, so that a reader can keep what it made of the last one
        self.version = 0

    # --- answers: what a subclass overrides ----------------------------------------------------------

    @classmethod
    def check(cls, spec: ServiceSpec) -> None:
        """Refuse a definition this kind cannot run. Raises BadDefinition."""
        if spec.options:
            raise BadDefinition(f"cannot define {spec.key}: kind {cls.kind} takes no options")

    def wanted(self, volumes: Mapping[str, Any]) -> bool:
        """Whether the state of the host's volumes allows this service to run while its goal is UP."""
        return True

    def argv(self) -> Sequence[str]:
        """The program and its own arguments; the standard flags are appended when the daemon speaks."""
        return self.spec.command

    def volfile(self) -> str | None:
        """The text of the daemon's volfile, or None when it has none."""
        return None

    def ready(self) -> Readiness:
        """How readiness shows."""
        return self.spec.ready

    def environment(self) -> Mapping[str, str]:
        """Variables this kind adds to the environment of its process."""
        return {}

    # --- hooks: inherited as they are ------------------------------------------------------------------

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def socket(self) -> Path | None:
        """The path the daemon binds, already short enough for a socket address."""
        if not self.speaks:
            return None
        return socket_path(self.seams.layout.service_socket(self.key), self.seams.short_dir)

    def init(self) -> None:
        """Make the process and connection objects; idempotent, called by the first start or adoption."""
        if self.process is not None:
            return
        self.process = Process(
            self.key,
            os=self.seams.os,
            clock=self.seams.clock,
            on_exit=lambda _, status: self.seams.listener.post(lambda: self._exited(status)),
        )
        self.readying = Readying(self)
        if (path := self.socket) is not None:
            spec = ConnSpec(address=f"unix:{path}", name=self.key, frame_timeout=self.frame_timeout)
            self.conn = Connection(spec, clock=self.seams.clock, rng=self.seams.rng, notify=self._notified)
            self.conn.init()

    def manager(self, volumes: Mapping[str, Any], *, held: str = "", unstoppable: bool = False) -> None:
        """Reconcile: compare what is wanted with what is, and ask for the difference. Idempotent.

        Args:
            held: why a start has to wait ("waits for db"), or "" when nothing holds it.
            unstoppable: a service that depends on this one still runs, so a stop has to wait.
        """
        state = self.lifecycle.state
        if self.lifecycle.goal is Goal.UP and self.wanted(volumes):
            if state is State.WAITING:
                if held:
                    self._explain(held)
                else:
                    self.start()
        elif state not in (State.DOWN, State.STOPPING) and not unstoppable:
            self.stop()

    def start(self) -> None:
        """Start now, unless it runs already. Raises StopFailed while an unkillable process is still there."""
        self._refuse_second()
        if self.lifecycle.state not in ACTIVE:
            self.restarts = 0
        self.feed(Ev.START)

    def hold(self, why: str) -> None:
        """Start as soon as what it requires is running."""
        self._refuse_second()
        self.feed(Ev.HOLD)
        if self.lifecycle.state is State.WAITING:
            self._explain(why)
            self.seams.listener.emit(events.Waited(self.key, why))

    def stop(self) -> None:
        """Stop it; the exit arrives later. Stopping what is down changes nothing."""
        if self.lifecycle.state is State.FAILED and self.alive and self.process is not None:
            self.process.stop()  # once more: whatever made it unkillable may be over
            return
        self.feed(Ev.STOP)
        if self.lifecycle.state is State.DOWN:
            self._explain("stopped")

    def rerun(self) -> None:
        """Stop and start again: a fresh process whatever the state was."""
        self._refuse_second()
        self.restarts = 0
        self.feed(Ev.RESTART)

    def reconfigure(self) -> str:
        """Make the running daemon read its configuration again. Returns what was done.

        Raises:
            BadDefinition: this service has no way to be told.
        """
        if not self.alive or self.process is None:
            raise BadDefinition(f"cannot reload {self.key}: it is not running")
        name = self.spec.reload_signal or ("SIGHUP" if self.speaks else "")
        if not name:
            raise BadDefinition(
                f"cannot reload {self.key}: its definition names no reload_signal; use restart or set one"
            )
        self.process.signal(signal.Signals[name])
        self.seams.listener.emit(events.Reconfigured(self.key, f"sent {name}"))
        return f"sent {name}"

    def redefine(self, spec: ServiceSpec) -> None:
        """Take over a changed definition; fields that need a new process apply at the next start."""
        self.check(spec)
        self.spec = spec
        self.lifecycle.policy = spec.restart
        self.lifecycle.backoff.spec = spec.backoff
        self.changed()

    def on_notify(self, event: ConnEvent) -> None:
        """A connection event, after the base has handled it; for kinds that listen to their daemon."""

    # --- what people and the supervisor ask ------------------------------------------------------------

    @property
    def goal(self) -> Goal:
        return self.lifecycle.goal

    @property
    def state(self) -> State:
        return self.lifecycle.state

    @property
    def identity(self) -> Identity | None:
        return self.process.identity if self.process is not None else None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def online(self) -> bool:
        """Alive and answering."""
        return self.status is Status.ONLINE

    @property
    def link(self) -> Link:
        if self.conn is None:
            return Link.NONE
        return Link.UP if self.conn.state is ConnState.UP else Link.NOT_UP

    @property
    def status(self) -> Status:
        return derive(self.state, alive=self.alive, link=self.link)

    @property
    def was_killed(self) -> bool:
        """Whether its last stop took SIGKILL."""
        return self.process is not None and self.process.killed

    def usage(self) -> dict[str, Any] | None:
        """CPU seconds, memory and descriptors of the whole tree, or None when it has no process."""
        return attrs.asdict(self.process.usage()) if self.process is not None and self.alive else None

    def uptime(self) -> float:
        """Seconds the present process has been running, 0 when there is none."""
        return self.seams.clock.monotonic() - self.started if self.alive else 0.0

    # --- the flow ----------------------------------------------------------------------------------------

    def feed(self, event: Ev) -> None:
        """One step of the table and its effects. Raises IllegalTransition, which changes nothing."""
        before = self.lifecycle.state
        for effect in self.lifecycle.handle(event):
            _EFFECTS[effect](self)
        if self.lifecycle.state is not before:
            self.since = self.seams.clock.utc()
            if self.lifecycle.state in (State.STARTING, State.RUNNING):
                self.reason = self.told
        self.changed()

    def changed(self) -> None:
        """Something visible changed."""
        self.version += 1
        self.seams.listener.changed(self.key)

    def _explain(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            self.changed()

    def _refuse_second(self) -> None:
        if self.state is State.FAILED and self.alive:
            raise StopFailed(
                f"cannot start {self.key}: its previous process {self.identity and self.identity.pid} "
                "survived SIGKILL and is still there"
            )

    def _spawn(self) -> None:
        self.told = ""
        try:
            self.init()
            assert self.process is not None
            self.incarnation += 1
            self.process.init(self._describe())
            identity = self.process.spawn()
        except SvcmgrError as error:
            self._spawn_failed(error)
            return
        self._begin(identity, self.seams.clock.monotonic())
        self.running_digest = self.spec.digest
        self.seams.listener.emit(events.Spawned(self.key, *self._facts(identity)))
        self.seams.listener.post(lambda: self.feed(Ev.SPAWNED))

    def _describe(self) -> ProcSpec:
        """The next process, completely."""
        assert self.readying is not None
        layout = self.seams.layout
        volfile = launch.write_volfile(layout.service_volfile(self.key), self.volfile())
        argv = tuple(self.argv())
        if self.speaks:
            argv += launch.standard_flags(self.key, layout, self.socket, volfile is not None, self.seams.control)
        marker = launch.marker(self.key, layout, self.incarnation)
        extra = {**self.environment(), **self.readying.environment()}
        env = launch.environment(self.spec, self.seams.environ, marker, extra)
        forks = self.ready().kind is ReadyKind.PIDFILE
        return launch.process_spec(self.spec, layout, argv, env, volfile=volfile, speaks=self.speaks, forks=forks)

    def probe_spec(self, argv: tuple[str, ...]) -> ProcSpec:
        """A readiness command: it runs as the service does and writes to its log."""
        marker = launch.marker(self.key, self.seams.layout, self.incarnation)
        env = launch.environment(self.spec, self.seams.environ, marker, self.environment())
        return launch.probe_spec(self.spec, self.seams.layout, argv, env)

    def _begin(self, identity: Identity, started: float) -> None:
        self.started = started
        if self.conn is not None:
            self.conn.connect(self.incarnation)

    def _facts(self, identity: Identity) -> tuple[int, int, int, str, str]:
        return identity.pid, self.incarnation, identity.start_ticks, identity.boot_id, self.running_digest

    def _spawn_failed(self, error: SvcmgrError) -> None:
        self.incarnation = max(self.incarnation, 1)
        permanent = not (isinstance(error, SpawnFailed) and error.details.get("transient"))
        held = isinstance(error, PidfileHeld | PidfileUnusable)
        event = self.lifecycle.spawn_failed_event(permanent=permanent or held, now=self.seams.clock.monotonic())
        self.seams.listener.emit(events.SpawnFailed(self.key, error.message))
        self.seams.listener.post(lambda: self._failed_to_spawn(event, error.message))

    def _failed_to_spawn(self, event: Ev, text: str) -> None:
        self.feed(event)
        self._after_failure(text)

    def adopt(self, identity: Identity, past: Past) -> bool:
        """Take over a process of an earlier svcmgrd. False when that very process is not alive any more."""
        self.init()
        assert self.process is not None
        self.incarnation = past.incarnation
        self.process.init(self._describe())
        if not self.process.adopt(identity):
            return False
        self.running_digest = past.digest
        self._begin(identity, past.started)
        self.seams.listener.emit(events.Adopted(self.key, *self._facts(identity)))
        self.feed(Ev.ADOPT_READY if past.ready else Ev.ADOPT)
        return True

    def died_unseen(self, past: Past) -> None:
        """Its process ended while no svcmgrd was there: an exit like any other, of unknown status."""
        self.init()
        self.incarnation = past.incarnation
        self.started = past.started
        self.lifecycle.restore(State.RUNNING)
        self._exited(ExitStatus())

    def rest(self, state: State, reason: str) -> None:
        """Come back to where it had come to rest before svcmgrd was restarted."""
        self.lifecycle.restore(state)
        self._explain(reason)

    def main_moved(self, pid: int) -> None:
        """The daemon's main process is its descendant ``pid``. Raises SvcmgrError when that is not so."""
        if self.process is None or (self.identity is not None and self.identity.pid == pid):
            return
        identity = self.process.adopt_main(pid)
        self.seams.listener.emit(events.Adopted(self.key, *self._facts(identity)))
        self.changed()

    async def release(self) -> None:
        """svcmgrd ends: let go of everything and leave the process as it is."""
        self._disarm()
        if self.readying is not None:
            self.readying.close()
        if self.conn is not None:
            await self.conn.term()
        if self.process is not None:
            self.process.release()

    def _exited(self, status: ExitStatus) -> None:
        now = self.seams.clock.monotonic()
        uptime = max(0.0, now - self.started)
        if self.conn is not None:
            self.conn.disconnect()
        if self.readying is not None:
            self.readying.close()
        wanted = self.lifecycle.cause in (Cause.OPERATOR, Cause.RESTART)
        tail = "" if wanted else log_tail(self.seams.layout.service_log(self.key))
        pid = self.identity.pid if self.identity is not None else 0
        self.last_exit = LastExit(self.seams.clock.utc(), status, uptime, tail)
        self.seams.listener.emit(
            events.Exited(self.key, pid, round(uptime, 3), status.code, status.signal_name, status.core, log_tail=tail)
        )
        cause = self.lifecycle.cause
        event = self.lifecycle.exit_event(Ending(status.code == 0, uptime), now)
        self.feed(event)
        text = status.describe()
        if cause in (Cause.NOT_READY, Cause.UNHEALTHY):
            text = self.told or f"{cause.value}; {text}"
        if self.state in (State.BACKOFF, State.FAILED):
            self._after_failure(text)
        elif self.state is State.DOWN:
            self._explain("stopped" if self.goal is Goal.DOWN and wanted else text)
            self.seams.listener.emit(events.Finished(self.key, self.reason))

    def _after_failure(self, text: str) -> None:
        backoff = self.lifecycle.backoff
        if self.state is State.BACKOFF:
            delay = self.lifecycle.delay
            self._explain(f"{text}; next start in {delay:.1f} s (failure {backoff.streak})")
            self.seams.listener.emit(events.BackedOff(self.key, round(delay, 3), backoff.streak))
        elif self.state is State.FAILED:
            limit = f"; gave up after {backoff.streak} restarts" if backoff.streak else ""
            self._explain(text + limit)
            self.seams.listener.emit(events.GaveUp(self.key, self.reason))

    def _stop_process(self) -> None:
        assert self.process is not None
        cause = self.lifecycle.cause or Cause.OPERATOR
        pid = self.identity.pid if self.identity is not None else 0
        self.seams.listener.emit(events.Stopping(self.key, pid, cause.value))
        self.process.stop()

    def survived(self, text: str) -> None:
        """The process outlived SIGKILL and its deadline."""
        pid = self.identity.pid if self.identity is not None else 0
        self.seams.listener.emit(events.Unkillable(self.key, pid, text))
        self.feed(Ev.UNKILLABLE)
        self._explain(text)

    def became_ready(self) -> None:
        """What the readiness rule waited for has happened."""
        if self.state is not State.STARTING or not self.alive or self.identity is None:
            return
        self.feed(Ev.READY)
        after = round(self.seams.clock.monotonic() - self.started, 3)
        self.seams.listener.emit(events.BecameReady(self.key, self.identity.pid, after))

    def unhealthy(self, text: str) -> None:
        """It lives but does not do its work: end it and let the restart policy decide."""
        if self.state not in (State.STARTING, State.RUNNING):
            return
        self.seams.listener.emit(events.BecameUnhealthy(self.key, text))
        self.told = text
        self.feed(Ev.UNHEALTHY)

    def tell(self, text: str) -> None:
        """The daemon describes itself."""
        self.told = text
        self._explain(text)
        self.seams.listener.emit(events.StatusTold(self.key, text))

    # --- effects and timers ----------------------------------------------------------------------------

    def arm(self, delay: float) -> None:
        """(Re)set the one deadline of the machine to ``delay`` seconds from now."""
        self._disarm()
        self._timer = self.seams.listener.call_later(delay, self._deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deadline(self) -> None:
        self._timer = None
        if self.state is State.STARTING:
            text = f"not ready within {self.spec.start_timeout:g} s ({self.ready()})"
            self.told = text
            self.seams.listener.emit(events.NotReady(self.key, text))
        elif self.state is State.BACKOFF:
            self.restarts += 1
        self.feed(Ev.DEADLINE)

    def _arm_backoff(self) -> None:
        if self.lifecycle.delay <= 0:
            self.seams.listener.post(self._deadline)
        else:
            self.arm(self.lifecycle.delay)

    def _with_readying(self, action: Callable[[Readying], None]) -> None:
        if self.readying is not None:
            action(self.readying)

    def _notified(self, event: ConnEvent) -> None:
        self.seams.listener.post(lambda: self._on_conn(event))

    def _on_conn(self, event: ConnEvent) -> None:
        if event.incarnation != self.incarnation:
            return
        if isinstance(event, Connected):
            self._with_readying(Readying.connected)
        elif isinstance(event, Hung):
            self.seams.listener.emit(events.Degraded(self.key, f"silent for {event.silent_s:.1f} s"))
            self._with_readying(Readying.hung)
        elif isinstance(event, Disconnected) and self.state is State.RUNNING and self.alive:
            self.seams.listener.emit(events.Degraded(self.key, f"alive, not answering: {event.reason}"))
        elif isinstance(event, Recovered):
            self.seams.listener.emit(events.Recovered(self.key))
            self._with_readying(Readying.recovered)
        self.changed()
        self.on_notify(event)


_EFFECTS: Mapping[Do, Callable[[Service], None]] = {
    Do.SPAWN: Service._spawn,
    Do.PROBE: lambda s: s._with_readying(Readying.begin),
    Do.UNPROBE: lambda s: s._with_readying(Readying.end),
    Do.CONNECT: lambda s: s._with_readying(Readying.resume),
    Do.STOP_PROCESS: Service._stop_process,
    Do.ARM_READY: lambda s: s.arm(s.spec.start_timeout) if s.ready().kind.waits else None,
    Do.ARM_BACKOFF: Service._arm_backoff,
    Do.DISARM: Service._disarm,
    Do.RESET_BACKOFF: lambda s: None,  # the lifecycle has done it; the cell keeps the diagram complete
}
