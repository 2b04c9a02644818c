"""The thread that carries the mount: it mounts, answers, notices that the mount was taken away, and mounts again.

The loop of requests has a thread of its own, so that the daemon's verbs answer while a disk is slow. Nothing here, and
nothing else in this process, looks at a path below the mount: the request would wait for this very thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from svcmgr.conn.retry import Retry
from svcmgr.errors import SvcmgrError, Unsupported
from svcmgr.fsutil import make_dir
from svcmgr.proc.mounts import SOURCE_PREFIX, TableWatch, detach, mounted_at, mounts_at
from svcmgr.services.snapd.view.filesystem import FileSystem
from svcmgr.services.snapd.view.session import READ_AHEAD, Session

#: A mount that somebody took away comes back after these delays, and at once after it had stood for HEALTHY_S.
AGAIN = Retry(first=0.1, factor=2.0, cap=30.0)
HEALTHY_S = 60.0
#: Threads that wait for disks on behalf of readers.
_DISK_THREADS = 8


class Carrier:
    """See the module. ``start`` and ``end`` once each, from another thread."""

    def __init__(self, mount: Path, volume: str, hide_dot: bool, log: logging.Logger) -> None:
        self._mount = mount
        # It becomes a mount option, where a comma begins the next one.
        self._source = SOURCE_PREFIX + re.sub(r"[^A-Za-z0-9._-]", "_", volume)
        self._log = log
        self._disk = ThreadPoolExecutor(_DISK_THREADS, "view-disk")
        self._side = ThreadPoolExecutor(1, "view-side")
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)
        self._first: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self._session: Session | None = None
        self._device = ""
        self._letting_go: Future[None] | None = None
        self.files = FileSystem(self._disk, hide_dot)
        self.files.crowded = self._crowded
        #: Why there is no mount; None while there is one.
        self.trouble: str | None = "it was not opened yet"

    # --- from other threads ------------------------------------------------------------------------

    def start(self) -> Future[None]:
        """Begin; done when there is a mount, or ``trouble`` says why there is none."""
        self._thread.start()
        return self._first

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` on the thread's loop, if that still runs."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it closed this moment, and took with it all that could be told
                self._loop.call_soon_threadsafe(function, *arguments)

    def end(self, deadline: float) -> bool:
        """Unmount and end the thread; whether that was done within ``deadline`` seconds. Blocks."""
        self.later(self._ending.set)
        self._unmount()
        self.later(self._retire)
        self._thread.join(deadline)
        return not self._thread.is_alive()

    def _unmount(self) -> None:
        try:
            mount = mounted_at(self._mount)
            if mount is not None and mount.device == self._device:
                detach(self._mount)
        except (SvcmgrError, OSError) as error:
            self._log.error("the view stays mounted, and dead: %s", error)

    # --- on the thread's loop ----------------------------------------------------------------------

    def forget(self, names: Iterable[tuple[int, bytes]]) -> None:
        """Have the kernel look (parent, name) up again; done in a thread, for it may wait for requests in work."""
        if self._session is not None and not self._ending.is_set():
            before = self.files.forgettings
            self._letting_go = self._side.submit(_forget, self._session, tuple(names))
            self._letting_go.add_done_callback(lambda done: self.later(self._let_go, before))

    def _let_go(self, before: int) -> None:
        """What was forgotten while the kernel could not be asked for more makes it worth asking now."""
        if self.files.is_crowded and self.files.forgettings > before:
            self._crowded()

    def _crowded(self) -> None:
        if self._letting_go is None or self._letting_go.done():
            self.forget(self.files.victims())

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        except Exception as error:
            self.trouble = f"it ended by a bug: {error!r}"
            self._log.critical("the view ended by a bug", exc_info=error)
        finally:
            self._loop = None
            self._side.shutdown(wait=False)
            self._disk.shutdown(wait=False)
            self.files.close()
            self._settle()

    def _settle(self) -> None:
        if not self._first.done():
            self._first.set_result(None)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        failures = 0
        while not self._ending.is_set():
            began = self._loop.time()
            try:
                await self._stand()
                self.trouble = "it was unmounted by somebody else; it will be mounted again"
            except (SvcmgrError, OSError) as error:
                self.trouble = str(error)
            if self._ending.is_set():
                self.trouble = "it was closed"
                return
            if not self._first.done():
                return  # what is refused at the first attempt needs somebody to do something
            if self._loop.time() - began > HEALTHY_S:
                failures = 0
            await self._pause(AGAIN.delay(failures, random))
            failures += 1

    async def _pause(self, delay: float) -> None:
        self._log.warning("the view at %s is away: %s; next attempt in %.1f s", self._mount, self.trouble, delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._ending.wait()

    async def _stand(self) -> None:
        """Mount, and answer until the mount is gone. Raises SvcmgrError or OSError when it cannot be mounted."""
        prepare(self._mount)
        session = self._session = Session(self._mount, self._source, self.files, self._tune)
        watch = TableWatch()
        loop = asyncio.get_running_loop()
        try:
            mount = mounted_at(self._mount)
            self._device = mount.device if mount is not None else ""
            loop.add_reader(watch.fileno(), self._look, watch)
            self.trouble = None
            self._log.info("the view is mounted at %s", self._mount)
            self._settle()
            if not self._ending.is_set():
                await session.serve()
        finally:
            loop.remove_reader(watch.fileno())
            watch.close()
            self._session = None
            await loop.run_in_executor(self._side, _nothing)  # what it still does, it does with this session
            session.close()
            self._unmount()
            self.files.forget_all()

    def _look(self, watch: TableWatch) -> None:
        """The mount table changed; perhaps we are not in it any more."""
        watch.seen()
        if all(mount.device != self._device for mount in mounts_at(self._mount)):
            self._retire()

    def _retire(self) -> None:
        """End the session when the side thread is done with it; requests are answered until then."""
        if self._session is not None:
            self._side.submit(self.later, self._session.end)

    def _tune(self) -> None:
        """Let the kernel read far ahead. Only possible once it has agreed with us on all else, at the first request."""
        with contextlib.suppress(OSError):  # not root, or a container without sysfs: it is slower, and works
            Path("/sys/class/bdi", self._device, "read_ahead_kb").write_text(str(READ_AHEAD // 1024))


def _nothing() -> None:
    """For waiting until a thread has done all else."""


def _forget(session: Session, names: Iterable[tuple[int, bytes]]) -> None:
    for parent, name in names:
        session.forget(parent, name)


def prepare(mount: Path) -> None:
    """Make ``mount`` an empty directory that can be mounted on; what a killed predecessor left mounted is taken away.

    Raises:
        Unsupported: this host has no FUSE, or not for us; something else is at ``mount``.
        SvcmgrError: as :func:`detach` and :func:`make_dir`.
    """
    if not os.path.exists("/dev/fuse"):
        raise Unsupported("cannot mount: there is no /dev/fuse; load the module fuse, or give it to the container")
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise Unsupported("cannot mount: only root may, or fusermount3, which is not here; install the package fuse3")
    detach(mount)
    make_dir(mount)
    if not stat.S_ISDIR(mount.lstat().st_mode) or any(mount.iterdir()):
        raise Unsupported(f"cannot mount at {mount}: it is not an empty directory; set features.snapshot-mount")
