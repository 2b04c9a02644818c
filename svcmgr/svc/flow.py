"""The order of things in the life of a service, once for all kinds.

Everything that happens enters through :meth:`Flow.feed`, on the supervisor's queue, one event at a time; the lifecycle
table answers with effects, and each effect is one short method here. The methods never wait: what takes time comes
back as another event.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from svcmgr.conn import Connected, ConnEvent, Disconnected, Hung, Recovered, remove_left
from svcmgr.errors import InternalError, StopFailed, SvcmgrError
from svcmgr.proc import ExitStatus, Identity, ProcSpec
from svcmgr.proc.logread import last_words
from svcmgr.svc import events, launch
from svcmgr.svc.answers import Answers, LastExit
from svcmgr.svc.change import Verdict
from svcmgr.svc.configuring import Configuring, Told
from svcmgr.svc.lifecycle import Cause, Do, Ending, Ev, Goal, State
from svcmgr.svc.readying import Readying
from svcmgr.svc.spec import ReadyKind

#: What can be over by itself (fork(2), open(2)): trying again makes sense. Everything else needs the operator.
_TRANSIENT = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ETXTBSY, errno.EIO}
)
#: How much of the log is kept with an exit.
_TAIL_LINES = 10
_TAIL_BYTES = 2000


class Flow(Answers):
    """Carries out what the lifecycle table says."""

    readying: Readying | None = None
    #: its main process ended while no svcmgrd was there, and what that left behind is being ended
    unseen = False
    #: why the last restart was made, when svcmgrd itself decided on it
    why = ""

    @functools.cached_property
    def configuring(self) -> Configuring:
        """Its volfile: what is in force, and how a change reaches the daemon."""
        return Configuring(self)

    def init(self) -> None:
        """Make the process and connection objects; idempotent."""
        raise AssertionError("a Flow is used as a Service")

    def on_notify(self, event: ConnEvent) -> None:
        """A connection event, after the base has handled it; for kinds that listen to their daemon."""

    # --- the flow ----------------------------------------------------------------------------------------

    def feed(self, event: Ev) -> None:
        """One step of the table and its effects. Raises IllegalTransition, which changes nothing."""
        before = self.lifecycle.state
        for effect in self.lifecycle.handle(event):
            _EFFECTS[effect](self)
        if self.lifecycle.state is not before:
            self.since = self.seams.clock.utc()
            if self.lifecycle.state in (State.STARTING, State.RUNNING):
                self.reason = self.told or self.why
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
        if self.state is State.FAILED and self.present:
            raise StopFailed(
                f"cannot start {self.key}: its previous process {self._pid} survived SIGKILL and is still there"
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
        except Exception as error:
            # An answer of this kind is wrong. The service must not stay half started; the traceback goes to the log.
            text = f"kind {self.spec.kind} failed: {type(error).__name__}: {error}"
            self._spawn_failed(InternalError(f"cannot start {self.key}: {text}"))
            raise
        self._begin(identity, self.seams.clock.monotonic())
        self.running_digest = self.spec.digest
        self.seams.listener.emit(events.Spawned(self.key, *self._facts(identity)))
        incarnation = self.incarnation
        self.seams.listener.post(lambda: self._spawned(incarnation))

    def _describe(self) -> ProcSpec:
        """The next process, completely."""
        assert self.readying is not None
        layout = self.seams.layout
        volfile = self.configuring.prepare()
        argv = tuple(self.argv())
        if self.speaks:
            served = self.volfile_id() if volfile is not None else None
            argv += launch.standard_flags(self.key, layout, self.socket, served, self.seams.control)
        marker = launch.marker(self.key, layout, self.incarnation)
        extra = {**self.environment(), **self.readying.environment()}
        env = launch.environment(self.spec, self.seams.environ, marker, extra)
        return launch.process_spec(self.spec, self._place(volfile), argv, env, speaks=self.speaks)

    def _describe_found(self) -> ProcSpec:
        """A process that runs already: how to know, watch and end it. Needs nothing that may have gone since."""
        marker = launch.marker(self.key, self.seams.layout, self.incarnation)
        spec = attrs.evolve(self.spec, user=None, group=None)
        return launch.process_spec(spec, self._place(None), spec.command or (self.key,), marker, speaks=self.speaks)

    def _place(self, volfile: Path | None) -> launch.Place:
        forks = Path(self.ready().target) if self.ready().kind is ReadyKind.PIDFILE else None
        return launch.Place(self.seams.layout, self.seams.cgroups, volfile, forks)

    def probe_spec(self, argv: tuple[str, ...]) -> ProcSpec:
        """A readiness command: it runs as the service does and writes to its log."""
        marker = launch.marker(self.key, self.seams.layout, self.incarnation)
        env = launch.environment(self.spec, self.seams.environ, marker, self.environment())
        return launch.probe_spec(self.spec, self.seams.layout, argv, env)

    def _begin(self, identity: Identity, started: float) -> None:
        self._pid = identity.pid
        self.started = started
        if self.conn is not None:
            self.conn.connect(self.incarnation)

    def _facts(self, identity: Identity) -> tuple[int, int, int, str, str]:
        return identity.pid, self.incarnation, identity.start_ticks, identity.boot_id, self.running_digest

    def _spawn_failed(self, error: SvcmgrError) -> None:
        self.incarnation = max(self.incarnation, 1)
        permanent = error.details.get("errno") not in _TRANSIENT
        event = self.lifecycle.spawn_failed_event(permanent=permanent, now=self.seams.clock.monotonic())
        self.seams.listener.emit(events.SpawnFailed(self.key, error.message))
        self.seams.listener.post(lambda: self._failed_to_spawn(event, error.message))

    def _spawned(self, incarnation: int) -> None:
        # A stop, or the exit, may have been on the queue already; what came first counts.
        if self.state is State.STARTING and self.incarnation == incarnation:
            self.feed(Ev.SPAWNED)

    def _failed_to_spawn(self, event: Ev, text: str) -> None:
        if self.state is State.STARTING:
            self.feed(event)
            self._after_failure(text)
        elif self.state is State.STOPPING and not self.present:
            # Told to stop before the failure was heard: there is nothing whose exit could end the stop.
            again = self.lifecycle.cause is Cause.RESTART
            held = self.seams.listener.why_held(self.key) if again else ""
            self.feed((Ev.EXIT_HELD if held else Ev.EXIT_AGAIN) if again else Ev.EXIT_DONE)
            self._explain(held or self._why_down(text, asked=True))

    def main_moved(self, pid: int) -> None:
        """The daemon says that its descendant ``pid`` is its main process. Raises SvcmgrError when it is not."""
        if self.process is not None and (self.identity is None or self.identity.pid != pid):
            self.process.adopt_main(pid)

    def _main_moved(self, identity: Identity) -> None:
        self._pid = identity.pid
        self.seams.listener.emit(events.Adopted(self.key, *self._facts(identity)))
        self.changed()

    def _exited(self, status: ExitStatus) -> None:
        unseen, self.unseen = self.unseen, False
        if unseen:
            status = ExitStatus()
        now = self.seams.clock.monotonic()
        uptime = max(0.0, now - self.started)
        if self.conn is not None:
            self.conn.disconnect()
        if self.readying is not None:
            self.readying.close()
        if self.socket is not None:
            remove_left(self.socket)  # a daemon that was killed could not do it
        self._unmount()
        if self.lifecycle.cause is not Cause.RESTART:
            self.why = ""
        wanted = self.lifecycle.cause in (Cause.OPERATOR, Cause.RESTART)
        words = "" if wanted else self._log_tail()
        self.last_exit = LastExit(self.seams.clock.utc(), status, uptime, words)
        self.seams.listener.emit(
            events.Exited(
                self.key, self._pid, round(uptime, 3), status.code, status.signal_name, status.core, log_tail=words
            )
        )
        cause = self.lifecycle.cause
        # How long a run lasted that nobody saw end is not known, so it proves nothing about its health.
        event = self.lifecycle.exit_event(Ending(status.code == 0, 0.0 if unseen else uptime), now)
        held = self.seams.listener.why_held(self.key) if event is Ev.EXIT_AGAIN else ""
        self.feed(Ev.EXIT_HELD if held else event)
        text = status.describe()
        if cause in (Cause.NOT_READY, Cause.UNHEALTHY):
            text = self.told or f"{cause.value}; {text}"
        if self.state in (State.BACKOFF, State.FAILED):
            self._after_failure(text)
        elif self.state is State.WAITING:
            self._wait(held)
        elif self.state is State.DOWN:
            self._explain(self._why_down(text, asked=wanted))
            self.seams.listener.emit(events.Finished(self.key, self.reason))

    def _why_down(self, text: str, *, asked: bool) -> str:
        if self.goal is Goal.UP and not self.lifecycle.wanted:
            return self.why_unwanted(self.volumes)
        return "stopped" if self.goal is Goal.DOWN and asked else text

    def _unmount(self) -> None:
        """Take away what its daemon mounted: without its server a mount only hangs or fails."""
        for path in self.mounts():
            try:
                self.seams.os.detach_mount(path)
            except SvcmgrError as error:
                self.seams.listener.emit(events.Troubled(self.key, error.message))

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
        self.seams.listener.emit(events.Stopping(self.key, self._pid, cause.value))
        self.process.stop()

    def _survived(self, pids: tuple[int, ...]) -> None:
        text = f"survived SIGKILL: {', '.join(map(str, pids))}; look at /proc/PID/stack for what holds it"
        self.seams.listener.emit(events.Unkillable(self.key, self._pid, text))
        if self.state is State.STOPPING:
            self.feed(Ev.UNKILLABLE)
        self._explain(text)
        self.changed()

    def became_ready(self) -> None:
        """What the readiness rule waited for has happened."""
        if self.state is not State.STARTING or not self.alive:
            return
        self.feed(Ev.READY)
        self.readied += 1
        after = round(self.seams.clock.monotonic() - self.started, 3)
        self.seams.listener.emit(events.BecameReady(self.key, self._pid, after))

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
        self._timer = self.seams.listener.call_later(delay, self._armed_deadline())

    def _armed_deadline(self) -> Callable[[], None]:
        """The deadline, unless it is disarmed when its turn comes: one that fired waits in the queue like others."""
        number = self._arming

        def act() -> None:
            if number == self._arming:
                self._deadline()

        return act

    def _disarm(self) -> None:
        self._arming += 1
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
            if held := self.seams.listener.why_held(self.key):
                self.feed(Ev.DEADLINE_HELD)
                self._wait(held)
                return
            self.restarts += 1
        self.feed(Ev.DEADLINE)

    def _wait(self, why: str) -> None:
        self._explain(why)
        self.seams.listener.emit(events.Waited(self.key, why))

    def _arm_backoff(self) -> None:
        if self.lifecycle.delay <= 0:
            self._disarm()
            self.seams.listener.post(self._armed_deadline())
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
            self._catch_up()
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

    def _catch_up(self) -> None:
        """A daemon that did not answer when its configuration changed is told now."""
        if self.configuring.stale and self.state is State.RUNNING:
            self.seams.listener.run(self._tell_again(), f"reconfigure:{self.key}")

    async def _tell_again(self) -> None:
        change = self.configuring.plan()
        if change.verdict is Verdict.TELL:
            self.note_told(await self.configuring.tell(change))

    def note_told(self, told: Told) -> None:
        """Say what came of telling the daemon about its new configuration."""
        if told.word == "failed":
            self.seams.listener.emit(events.ReconfigureFailed(self.key, told.text))
        else:
            self.seams.listener.emit(events.Reconfigured(self.key, f"{told.word}: {told.text}"))
        if told.word != "reconfigured":
            self._explain(f"{told.word}: {told.text}")
        else:
            self._explain(told.text)

    def _log_tail(self) -> str:
        try:
            words = last_words(self.seams.layout.service_log(self.key), _TAIL_LINES, _TAIL_BYTES)
            return words.decode(errors="replace")
        except SvcmgrError:
            return ""  # an unreadable log must not hide how the process ended


_EFFECTS: Mapping[Do, Callable[[Flow], None]] = {
    Do.SPAWN: Flow._spawn,
    Do.PROBE: lambda s: s._with_readying(Readying.begin),
    Do.UNPROBE: lambda s: s._with_readying(Readying.end),
    Do.CONNECT: lambda s: s._with_readying(Readying.resume),
    Do.STOP_PROCESS: Flow._stop_process,
    Do.ARM_READY: lambda s: s.arm(s.spec.start_timeout) if s.ready().kind.waits else None,
    Do.ARM_BACKOFF: Flow._arm_backoff,
    Do.DISARM: Flow._disarm,
    Do.RESET_BACKOFF: lambda s: None,  # the lifecycle has done it; the cell keeps the diagram complete
}
