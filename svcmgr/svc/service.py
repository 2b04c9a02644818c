"""The service object: a connection, a process, an online status, and the hooks that a daemon type inherits.

A subclass gives *answers* (:mod:`svcmgr.svc.answers`): class facts (``kind``, ``restart``, ``readiness``,
``stop_grace``, ``frame_timeout``) and the pure methods ``wanted``, ``argv``, ``volfile``, ``ready``, ``environment``.
The *order* of things (init once, volfile if changed, spawn, connect, ready, back-off, stop) is in
:mod:`svcmgr.svc.flow` and the lifecycle table. The hooks here are what the supervisor calls.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from svcmgr.conn import Connection, ConnSpec
from svcmgr.errors import BadDefinition
from svcmgr.proc import ExitStatus, Hooks, Identity, Process
from svcmgr.proc.cgroup import Group
from svcmgr.svc import events
from svcmgr.svc.answers import Past
from svcmgr.svc.flow import Flow
from svcmgr.svc.lifecycle import ACTIVE, Ev, Goal, State
from svcmgr.svc.readying import Readying
from svcmgr.svc.spec import ServiceSpec


class Service(Flow):
    """Base of all service kinds. Subclass it, set the facts, give the answers; see docs/daemons.md."""

    def init(self) -> None:
        """Make the process and connection objects; idempotent, called by the first start or adoption."""
        if self.process is not None:
            return
        post = self.seams.listener.post
        self.process = Process(
            self.key,
            os=self.seams.os,
            clock=self.seams.clock,
            on_exit=lambda _, status: post(lambda: self._exited(status)),
            hooks=Hooks(
                on_main=lambda _, identity: post(lambda: self._main_moved(identity)),
                on_lingers=lambda _: post(self.changed),
                on_unkillable=lambda _, pids: post(lambda: self._survived(pids)),
                cgroups=Group,
            ),
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
        was = self.lifecycle.wanted
        self.look_at(volumes)
        state = self.lifecycle.state
        if self.lifecycle.goal is Goal.UP and self.lifecycle.wanted:
            if state is State.WAITING and held:
                self._explain(held)
            elif state is State.DOWN and not was and held:
                self.hold(held)
            elif state is State.WAITING or (state in (State.DOWN, State.STOPPING) and not was):
                self.start()
        elif state is State.FAILED and self.present:
            return  # it outlived SIGKILL: only a command tries that again
        elif state not in (State.DOWN, State.STOPPING) and not unstoppable:
            self.stop()

    def look_at(self, volumes: Mapping[str, Any]) -> None:
        """Take ``volumes`` for what there is; what follows from it is up to the manager."""
        self.volumes = volumes
        self.lifecycle.wanted = self.wanted(volumes)
        if self.lifecycle.state is State.DOWN and not self.lifecycle.wanted and self.lifecycle.goal is Goal.UP:
            self._explain(self.why_unwanted(volumes))

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
            self._wait(why)

    def stop(self) -> None:
        """Stop it; the exit arrives later. Stopping what is down changes nothing."""
        if self.lifecycle.state is State.FAILED and self.present and self.process is not None:
            self.process.stop()  # once more: whatever made it unkillable may be over
            return
        self.feed(Ev.STOP)
        if self.lifecycle.state is State.DOWN:
            self._explain(self._why_down("stopped", asked=True))

    def rerun(self, why: str = "") -> None:
        """Stop and start again: a fresh process whatever the state was. ``why`` is shown while that one lives."""
        self._refuse_second()
        self.why = f"restarted: {why}" if why else ""
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

    def adopt(self, identity: Identity, past: Past) -> bool:
        """Take over a process of an earlier svcmgrd. False when that very process is not alive any more."""
        self.init()
        assert self.process is not None
        self.incarnation = past.incarnation
        self.process.init(self._describe_found())
        if not self.process.adopt(identity):
            return False
        self.running_digest = past.digest
        self._begin(identity, past.started)
        self.configuring.resume()
        self.seams.listener.emit(events.Adopted(self.key, *self._facts(identity)))
        self.feed(Ev.ADOPT_READY if past.ready else Ev.ADOPT)
        if past.started_utc is not None:
            self.since = past.started_utc
        return True

    def died_unseen(self, past: Past, left: Identity | None = None) -> None:
        """Its process ended while no svcmgrd was there: an exit like any other, of unknown status.

        Args:
            left: a living process that it left behind; all of those are ended first.
        """
        self.init()
        assert self.process is not None
        self.incarnation = past.incarnation
        self.started = past.started
        self.process.init(self._describe_found())
        self.unseen = True
        if left is not None and self.process.adopt(left):
            self.lifecycle.restore(State.STOPPING)
            self.process.stop()
            return
        self.lifecycle.restore(State.RUNNING)
        self._exited(ExitStatus())

    def rest(self, state: State, reason: str) -> None:
        """Come back to where it had come to rest before svcmgrd was restarted."""
        self.lifecycle.restore(state)
        self._explain(reason)

    async def release(self) -> None:
        """svcmgrd ends: let go of everything and leave the process as it is."""
        self._disarm()
        if self.readying is not None:
            self.readying.close()
        if self.process is not None:
            self.process.detach()  # first: that we hang up is no news about the daemon
        if self.conn is not None:
            await self.conn.term()
