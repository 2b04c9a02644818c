"""One life of a daemon inside its event loop: configure, open, serve, close.

Everything that runs lives in one TaskGroup inside the daemon's resources, so the order of the end is the order of the
indentation read backwards. A signal during the start cancels the start where it is; what was open is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from svcmgr.background import run_workers
from svcmgr.clock import Clock
from svcmgr.conn import Server, ServerSpec
from svcmgr.errors import BadInput, ConnectionFault, ReconfigureFailed, StartFailed, StorageFailed, SvcmgrError
from svcmgr.services.daemonkit.chores import Chores
from svcmgr.services.daemonkit.configuration import Configuration, Volfile, fetch
from svcmgr.services.daemonkit.daemon import Context, Daemon
from svcmgr.services.daemonkit.exits import EXIT_NO_VOLFILE_SERVER, EXIT_USAGE, cannot_start
from svcmgr.services.daemonkit.facts import Facts
from svcmgr.services.daemonkit.logs import LogOutput
from svcmgr.services.daemonkit.notifier import Notifier
from svcmgr.services.daemonkit.options import Options
from svcmgr.services.daemonkit.standard import join_verbs, standard_verbs

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@attrs.frozen
class Surroundings:
    """What a life gets from its process."""

    options: Options
    environ: Mapping[str, str]
    clock: Clock
    output: LogOutput
    log: Any


class Life:
    """Runs one daemon once. ``factory`` makes it from its context."""

    def __init__(self, name: str, factory: Callable[[Context], Daemon], around: Surroundings) -> None:
        self._name = name
        self._around = around
        self._log = around.log
        self._stopping = asyncio.Event()
        self._hangup = asyncio.Event()
        self._starting: asyncio.Task[Any] | None = None
        self._server: Server | None = None
        self._notifier = Notifier(around.environ, os.getpid(), around.log)
        self._facts = Facts(name, around.clock)
        self._daemon = factory(self._context())
        self._configuration = Configuration(self._fetch, self._daemon.configure, around.clock)

    def _context(self) -> Context:
        around = self._around
        return Context(
            name=self._name,
            flags=around.options.flags,
            environ=around.environ,
            clock=around.clock,
            log=around.log,
            publish=self._publish,
            stop=self.stop,
            notify=self._notifier.send,
        )

    def _publish(self, topic: str, payload: Any) -> None:
        if self._server is not None:
            self._server.publish(topic, payload)

    def stop(self, reason: str) -> None:
        """Begin the orderly end; only the first reason counts."""
        if self._stopping.is_set():
            self._log.info("stopping already; again: %s", reason)
            return
        self._log.info("stopping: %s", reason)
        self._stopping.set()
        self._notifier.send(stopping=True, status=f"stopping: {reason}")
        if self._starting is not None:
            self._starting.cancel()

    async def run(self) -> None:
        """Until :meth:`stop`. Raises StartFailed where the start fails; anything else is a bug of the daemon."""
        self._starting = asyncio.current_task()
        with self._signals():
            try:
                await self._live()
            except asyncio.CancelledError:
                if not self._stopping.is_set():
                    raise
                # Our own cancel() ended the start: it is dealt with, and this task goes on to exit 0.
                if self._starting is not None:
                    self._starting.uncancel()

    async def _live(self) -> None:
        await self._configure_first()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._daemon.resources())
            except Exception as error:
                raise cannot_start(self._name, error) from error
            refusal = await self._attend()
        if refusal is not None:
            raise refusal
        self._log.info("stopped")

    async def _attend(self) -> StartFailed | None:
        """Serve until the end. A start that fails is given back instead of raised.

        Raised, it would pass through the daemon's resources: a TaskGroup among them makes an ExceptionGroup of it.
        """
        try:
            jobs = self._jobs()
            async with self._serving():
                await self._work(jobs)
        except StartFailed as error:
            return error
        return None

    async def _work(self, jobs: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        async with asyncio.TaskGroup() as group:
            self._starting = None
            tasks = [group.create_task(job(), name=job.__name__) for job in jobs]
            await self._stopping.wait()
            await self._close_server()
            for task in tasks:
                task.cancel()

    def _jobs(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside the server. From here on there is something to say in each section of ``statistics``."""
        try:
            chores = Chores(self._daemon.workers(), self._log)
        except Exception as error:
            raise cannot_start(self._name, error) from error
        add = self._facts.add
        add("server", lambda: self._server.statistics() if self._server is not None else None)
        add("workers", lambda: chores.facts)
        add("configured", lambda: self._configuration.facts)
        add("log", self._around.output.facts)
        add("notify", self._notifier.facts)
        add("own", self._daemon.statistics)

        async def workers() -> None:
            await run_workers(chores.workers, chores.report)

        return [self._notifier.ready, self._notifier.watchdog, self._serve_hangups, workers]

    async def _fetch(self) -> Volfile | None:
        options = self._around.options
        if options.volfile_server is None or options.volfile_id is None:
            return None
        self._log.info("fetching volfile %s from %s", options.volfile_id, options.volfile_server)
        return await fetch(f"unix:{options.volfile_server}", options.volfile_id, self._around.clock)

    async def _configure_first(self) -> None:
        try:
            volfile = await self._configuration.fetch()
        except ConnectionFault as error:
            raise cannot_start(self._name, error, EXIT_NO_VOLFILE_SERVER) from error
        except BadInput as error:
            raise cannot_start(self._name, error, EXIT_USAGE) from error
        except SvcmgrError as error:
            raise cannot_start(self._name, error) from error
        try:
            await self._configuration.apply(volfile)
        except Exception as error:
            raise cannot_start(self._name, error) from error

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """The socket is bound and answers inside; closed and removed after."""
        socket = self._around.options.socket
        if socket is None:
            yield
            return
        try:
            try:
                await self._start_server(socket)
            except Exception as error:
                raise cannot_start(self._name, error) from error
            yield
        finally:
            await self._close_server()

    async def _start_server(self, socket: Path) -> None:
        standard = standard_verbs(self._facts.collect, self._reconfigure, self.stop)
        verbs = join_verbs(standard, self._daemon.verbs())
        spec = ServerSpec(
            address=f"unix:{socket}",
            name=self._name,
            incarnation=os.getpid(),
            access=self._daemon.access,
            socket_mode=self._daemon.socket_mode,
        )
        self._server = Server(spec, verbs, clock=self._around.clock)
        await self._server.start()

    async def _close_server(self) -> None:
        if self._server is not None:
            await self._server.aclose()

    # --- signals -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop, "SIGTERM")
        loop.add_signal_handler(signal.SIGINT, self.stop, "SIGINT")
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        loop.add_signal_handler(signal.SIGUSR1, self._dump)
        try:
            yield
        finally:
            # A late signal must not kill a daemon that is on its way out. Removing a handler restores the default,
            # so the signals are blocked until they are ignored.
            signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
            for number in _HANDLED:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    def _dump(self) -> None:
        try:
            for line in self._facts.lines():
                self._around.output.write(line)
        except Exception as error:
            self._log.error("cannot dump statistics: %r", error, exc_info=error)

    async def _serve_hangups(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            try:
                self._around.output.reopen()
            except StorageFailed as error:
                self._log.error("%s; logging goes on to the old file", error.message)
            with contextlib.suppress(ReconfigureFailed):  # said in the log and in statistics
                await self._reconfigure()

    async def _reconfigure(self) -> Any:
        self._notifier.send(reloading=True, monotonic_usec=int(self._around.clock.monotonic() * 1e6))
        try:
            facts = await self._configuration.reconfigure()
            self._log.info("%s, checksum %s", facts.result, facts.checksum)
        except ReconfigureFailed as error:
            self._log.error("%s", error.message, exc_info=error if self._around.options.debug else None)
            raise
        finally:
            if not self._stopping.is_set():
                self._notifier.send(ready=True, status=self._configuration.facts.result)
        return facts
