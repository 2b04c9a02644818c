"""What a service is: its facts, its answers, its memory, and what may be asked of it at any time.

A subclass of :class:`~svcmgr.svc.service.Service` overrides what is here, and nothing else: class facts and pure
methods. None of them waits, writes or decides an order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs

from svcmgr.conn import Connection
from svcmgr.conn import State as ConnState
from svcmgr.errors import BadDefinition
from svcmgr.paths import socket_path
from svcmgr.proc import ExitStatus, Identity, Process, StopResult
from svcmgr.proc import State as StopState
from svcmgr.proc.usage import tree_usage
from svcmgr.svc.backoff import Backoff
from svcmgr.svc.change import Change, Verdict
from svcmgr.svc.lifecycle import Goal, Lifecycle, Restart, State
from svcmgr.svc.seams import Seams, Timer
from svcmgr.svc.spec import Readiness, ServiceSpec
from svcmgr.svc.status import Link, Status, derive


@attrs.frozen
class Past:
    """What the last svcmgrd knew of a process. ``started`` is CLOCK_MONOTONIC, ``started_utc`` UTC seconds."""

    incarnation: int
    started: float
    ready: bool = False
    digest: str = ""
    started_utc: float | None = None


@attrs.frozen
class LastExit:
    """The last end of a process of this service. ``at`` is UTC seconds, ``uptime_s`` seconds."""

    at: float
    status: ExitStatus
    uptime_s: float
    log_tail: str


class Answers:
    """State and answers of one service; see docs/daemons.md for what to override."""

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
    #: whether svcmgrd makes one of it for each volume; its instance is then the volume's name
    per_volume: ClassVar[bool] = False

    def __init__(self, spec: ServiceSpec, seams: Seams) -> None:
        """Pure memory; nothing outside is touched before the first :meth:`manager`."""
        self.check(spec)
        self.spec = spec
        self.seams = seams
        self.lifecycle = Lifecycle(spec.restart, Backoff(spec.backoff, seams.rng))
        #: the volumes of the host, by name, as of the last look at them
        self.volumes: Mapping[str, Any] = {}
        self.process: Process | None = None
        self.conn: Connection | None = None
        self.incarnation = 0
        self.restarts = 0
        #: how often it became ready
        self.readied = 0
        self.reason = ""
        self.told = ""
        self.last_exit: LastExit | None = None
        self.running_digest = ""
        self.since = seams.clock.utc()
        #: CLOCK_MONOTONIC seconds at which the present or last process began
        self.started = 0.0
        self._pid = 0
        self._timer: Timer | None = None
        #: Grows when the deadline is armed or disarmed.
        self._arming = 0
        #: grows with every visible change, so that a reader can keep what it made of the last one
        self.version = 0

    # --- answers: what a subclass overrides ----------------------------------------------------------

    @classmethod
    def check(cls, spec: ServiceSpec) -> None:
        """Refuse a definition this kind cannot run. Raises BadDefinition."""
        if spec.options:
            raise BadDefinition(f"cannot define {spec.key}: kind {cls.kind} takes no options", key="options")

    def wanted(self, volumes: Mapping[str, Any]) -> bool:
        """Whether the state of the host's volumes allows this service to run while its goal is UP."""
        return True

    def why_unwanted(self, volumes: Mapping[str, Any]) -> str:
        """Why :meth:`wanted` says no, for people; asked only then."""
        return "no volume wants it"

    def concerns(self, volume: str) -> bool:
        """Whether a change of the volume of that name may matter to this service; else its manager is not called."""
        return self.per_volume and self.spec.instance == volume

    def argv(self) -> Sequence[str]:
        """The program and its own arguments; the standard flags are appended when the daemon speaks."""
        return self.spec.command

    def volfile(self) -> str | None:
        """The text of the daemon's volfile, or None when it has none. ``self.volumes`` is what to make it from."""
        return None

    def volfile_id(self) -> str:
        """The id under which svcmgrd serves the volfile; at most 255 bytes, no other service's."""
        return self.key

    def compare(self, old: str, new: str) -> Change:
        """What volfile ``new`` means for the daemon that runs with ``old``; they differ. Raises BadVolfile."""
        return Change(Verdict.TELL, "its volfile changed")

    def holds(self, volume: str) -> str:
        """Why the volume of that name must not be deleted now, or "". May read files: it is asked in a thread."""
        return ""

    def mounts(self) -> Sequence[Path]:
        """Where its daemon may have mounted a file system that must not outlive it."""
        return ()

    def ready(self) -> Readiness:
        """How readiness shows."""
        return self.spec.ready

    def environment(self) -> Mapping[str, str]:
        """Variables this kind adds to the environment of its process."""
        return {}

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def socket(self) -> Path | None:
        """The path the daemon binds, already short enough for a socket address."""
        if not self.speaks:
            return None
        return socket_path(self.seams.layout.service_socket(self.key), self.seams.short_dir)

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
    def present(self) -> bool:
        """Whether anything of its last incarnation lives: the main process, or what that left behind."""
        return self.process is not None and self.process.state is not StopState.GONE

    @property
    def outdated(self) -> bool:
        """Whether its process was started from another definition than the one in force."""
        return self.alive and self.running_digest not in ("", self.spec.digest)

    @property
    def being_killed(self) -> bool:
        """Whether SIGKILL was sent and its deadline has not passed."""
        return self.process is not None and self.process.state is StopState.KILLING

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
        outcome = self.process.last_outcome if self.process is not None else None
        return outcome is not None and outcome.result is StopResult.KILLED

    def usage(self) -> dict[str, Any] | None:
        """CPU seconds, memory and descriptors of the whole tree, or None when it has no process."""
        return tree_usage(self.process.pids()) if self.process is not None and self.alive else None

    def uptime(self) -> float:
        """Seconds the present process has been running, 0 when there is none."""
        return self.seams.clock.monotonic() - self.started if self.alive else 0.0
