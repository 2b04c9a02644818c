"""svcmgrd: the composition root. Only this module sees every room.

Boot is load, adopt, serve, reconcile, in that order: what runs is known before the first question is answered, and
nothing is started before it is known. The process holds no pipe to any service, so it can be killed at any instant;
the next one finds the ledger, the intent and the processes, and goes on.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, suppress

import attrs

from svcmgr import PROTOCOL, __version__
from svcmgr.clock import Clock, SystemClock, rfc3339
from svcmgr.conn import Access, Peer, Server, ServerSpec, Verb
from svcmgr.errors import PidfileHeld, SecondDaemon, StorageFailed, SvcmgrError
from svcmgr.fsutil import make_dir
from svcmgr.host import wire
from svcmgr.host.api import Api
from svcmgr.host.boot import boot
from svcmgr.host.commander import Commander
from svcmgr.host.logkeeping import LogKeeping
from svcmgr.host.recorder import Recorder
from svcmgr.host.store import IntentStore, Ledger, quarantine
from svcmgr.host.volfiles import Volfiles
from svcmgr.host.volume_api import VolumeApi
from svcmgr.host.volume_store import VolumeStore
from svcmgr.host.volumes import Volumes
from svcmgr.paths import Layout, short_socket_dir, socket_path
from svcmgr.proc import Os, Reaper
from svcmgr.proc.cgroup import find_base
from svcmgr.proc.linux import trim_memory
from svcmgr.proc.pidfile import PidfileLock
from svcmgr.sdnotify import notify, watchdog_timeout
from svcmgr.svc import Registry, Seams, Supervisor, base_environment, events

#: Kinds that come with svcmgr, found without scanning the installed packages.
BUILTIN = {
    "command": "svcmgr.services.command.service:CommandService",
    "daemon": "svcmgr.services.daemon:DaemonService",
    "mgmtd": "svcmgr.services.mgmtd.service:MgmtdService",
    "snapd": "svcmgr.services.snapd.service:SnapdService",
}


@attrs.frozen
class Options:
    """How svcmgrd was started. ``ready``: called once when it serves."""

    layout: Layout
    environ: Mapping[str, str]
    os: Os
    ready: Callable[[], None]
    clock: Clock = attrs.field(factory=SystemClock)


class Daemon:
    """One svcmgrd. ``run()`` returns the exit code."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.layout = options.layout
        self.clock = options.clock
        self.short_dir = short_socket_dir(options.environ, os.getuid())
        #: what is bound and connected to; the readable name is ``layout.control_socket``
        self.control = socket_path(self.layout.control_socket, self.short_dir)
        self._ending = asyncio.Event()
        self._cgroups = find_base(self.layout.run)
        self._started = self.clock.monotonic()
        self._started_utc = self.clock.utc()

    async def run(self) -> int:
        """Serve until told to end. Raises SecondDaemon, StorageFailed; daemons are never touched by either."""
        os.chdir("/")  # hold no file system busy, and start services that ask for nothing else the cheap way
        os.umask(0o022)
        self._make_dirs()
        try:
            lock = PidfileLock(self.layout.daemon_pidfile)
            lock.acquire()
        except PidfileHeld as error:
            raise SecondDaemon(
                f"cannot serve {self.layout.run}: svcmgrd with pid {error.details.get('pid')} serves it already",
                **error.details,
            ) from error
        try:
            await self._serve()
        finally:
            lock.release()
        return 0

    def _make_dirs(self) -> None:
        for path in (self.layout.definitions, self.layout.state, self.layout.services_run, self.layout.log):
            make_dir(path)
        make_dir(self.short_dir, 0o700)
        check_private(self.short_dir)

    async def _serve(self) -> None:
        self.options.os.become_subreaper()
        store = IntentStore(self.layout, self.clock.utc())
        ledger = self._ledger(store)
        ring = events.EventRing(ledger.generation)
        supervisor = Supervisor(self.clock, ring, report_bug)
        recorder = Recorder(ledger, self.clock, supervisor.services)
        supervisor.sinks += [recorder, EventLog()]
        try:
            async with supervisor, LogKeeping(supervisor, self.layout) as keeping:
                supervisor.sinks.append(keeping)
                volfiles = Volfiles(self.clock)
                seams = self._seams(supervisor, volfiles)
                volumes = Volumes(supervisor, self._volume_store(), store, Registry(BUILTIN), seams)
                commander = Commander(supervisor, seams, volumes, store, recorder)
                commander.end, commander.rotation = self._ending.set, keeping.rotation
                await self._live(commander, ledger, volfiles)
        finally:
            ledger.close()
            if self._cgroups is not None:
                with suppress(OSError):  # goes when it is empty: when no service runs on
                    self._cgroups.rmdir()

    def _ledger(self, store: IntentStore) -> Ledger:
        """What the last svcmgrd knew. An unreadable ledger is moved aside: processes are still found by mark."""
        ledger = Ledger(self.layout)
        try:
            ledger.load()
        except StorageFailed as error:
            moved = quarantine(self.layout, ledger.path, self.clock.utc())
            store.troubles.append(f"{error.message}; moved to {moved}")
        ledger.open()
        return ledger

    def _volume_store(self) -> VolumeStore:
        return VolumeStore(self.layout, self.clock.utc())

    def _seams(self, supervisor: Supervisor, volfiles: Volfiles) -> Seams:
        return Seams(
            os=self.options.os,
            clock=self.clock,
            rng=random.Random(),  # noqa: S311 - jitter, not a secret
            layout=self.layout,
            short_dir=self.short_dir,
            control=self.control,
            environ=base_environment(self.options.environ),
            listener=supervisor,
            cgroups=self._cgroups,
            volfiles=volfiles,
        )

    async def _live(self, commander: Commander, ledger: Ledger, volfiles: Volfiles) -> None:
        supervisor = commander.supervisor
        with closing(Reaper(self.options.os)) as reaper:
            reaper.open()
            start = boot(commander, ledger)
            settle_memory()
            server = Server(self._server_spec(), self._verbs(commander, volfiles), clock=self.clock)
            await server.start()
            self._link_socket()
            try:
                await start()
                self._handle_signals(commander)
                supervisor.emit(events.Began("", os.getpid(), __version__))
                self._tell(ready=True, status=f"{len(supervisor.services)} services")
                self.options.ready()
                await self._until_ended()
                self._tell(stopping=True)
                self._farewell(supervisor)
            finally:
                await server.aclose()
                if self.layout.control_socket.is_symlink():
                    self.layout.control_socket.unlink(missing_ok=True)

    def _verbs(self, commander: Commander, volfiles: Volfiles) -> dict[str, Verb]:
        api = Api(commander.supervisor, commander, volfiles, self._info_for(commander))
        return {**api.verbs(), **VolumeApi(commander.volumes, volfiles).verbs()}

    def _server_spec(self) -> ServerSpec:
        return ServerSpec(
            address=f"unix:{self.control}", name="svcmgrd", incarnation=os.getpid(), access=access_of, socket_mode=0o666
        )

    def _link_socket(self) -> None:
        """Make the readable name of a socket that had to be shortened lead to it, also for clients of other users."""
        readable = self.layout.control_socket
        if self.control != readable:
            with suppress(OSError):  # without the link our own clients compute the path, and `show` tells it
                readable.unlink(missing_ok=True)
                readable.symlink_to(self.control)

    def _info_for(self, commander: Commander) -> Callable[[str], wire.DaemonInfo]:
        root = str(self.layout.root) if self.layout.root is not None else ""

        def info(access: str) -> wire.DaemonInfo:
            uptime = round(self.clock.monotonic() - self._started, 3)
            return wire.DaemonInfo(
                os.getpid(), __version__, PROTOCOL, self._started_utc, root, uptime, access, commander.invalid
            )

        return info

    def _handle_signals(self, commander: Commander) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        reread = lambda: commander.supervisor.run(_reread(commander), "reread")  # noqa: E731 - a signal handler takes no argument
        loop.add_signal_handler(signal.SIGHUP, reread)

    async def _until_ended(self) -> None:
        period = watchdog_timeout(self.options.environ, os.getpid())
        while not self._ending.is_set():
            try:
                async with asyncio.timeout(period / 2 if period else None):
                    await self._ending.wait()
            except TimeoutError:
                self._tell(watchdog=True)

    def _tell(self, **fields: object) -> None:
        try:
            notify(self.options.environ, **fields)
        except SvcmgrError as error:
            log_line(error.message)

    def _farewell(self, supervisor: Supervisor) -> None:
        stays = supervisor.living()
        if stays:
            log_line("ends; these go on: " + ", ".join(f"{k} (pid {pid})" for k, pid in stays.items()))
        else:
            log_line("ends; no service is running")


async def _reread(commander: Commander) -> None:
    await commander.reread()


def access_of(peer: Peer) -> Access | None:
    """Root and our own user may do everything, everyone else may look."""
    return Access.ADMIN if peer.uid in (0, os.getuid()) else Access.READ


def check_private(path: os.PathLike[str]) -> None:
    """Refuse a socket directory that is not ours alone. Raises SvcmgrError."""
    found = os.lstat(path)
    if found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022:
        raise SvcmgrError(
            f"cannot use {os.fspath(path)} for sockets: owner {found.st_uid}, mode {found.st_mode & 0o7777:04o}; "
            "it must belong to us and be writable by nobody else"
        )


def settle_memory() -> None:
    """Spare the garbage collector what lives as long as we do, and bursts of starts its visits (gc.freeze)."""
    gc.collect()
    trim_memory()  # what reading the definitions took
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def log_line(text: str) -> None:
    """One line to our own log, which is standard error."""
    _write(f"{rfc3339(SystemClock().utc())} {text}\n")


class EventLog:
    """Events as log lines. Remembers how the present second is written, since events come in bursts."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, stamped: events.Stamped) -> None:
        """A sink of the supervisor."""
        second, part = divmod(stamped.at, 1)
        if second != self._second:
            self._second, self._text = int(second), rfc3339(second)[:-4]
        _write(f"{self._text}{int(part * 1000):03d}Z {stamped.event.line()}\n")


def report_bug(error: Exception) -> None:
    """An exception that is our fault: the traceback goes to the log, never to a client."""
    _write("".join(traceback.format_exception(error)))


def _write(text: str) -> None:
    # A full disk or a closed terminal costs the line, never the supervision.
    with suppress(OSError, ValueError):
        os.write(2, text.encode(errors="backslashreplace"))
