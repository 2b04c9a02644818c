"""The view as the daemon holds it: opened, told what to show, closed, asked for facts."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.view.carrier import Carrier
from svcmgr.services.snapd.view.inodes import TOP
from svcmgr.services.snapd.view.shown import Shown
from svcmgr.services.snapd.wire import ViewFacts

#: Seconds that mounting and unmounting may take; both are a few milliseconds where nothing is wrong.
OPEN_S = 30.0
CLOSE_S = 5.0


class View:
    """The activated snapshots as a read-only FUSE mount. One in a process; its methods are for the daemon's loop."""

    def __init__(self, mount: Path, hide_dot: bool, log: logging.Logger, *, volume: str = "") -> None:
        """``volume`` is what the mount table calls the source; the mount's own name by default."""
        self._mount = mount
        self._log = log
        self._carrier = Carrier(mount, volume or mount.name, hide_dot, log)
        self._opened = False

    async def open(self) -> None:
        """Mount. Never fails: where it cannot be, :meth:`facts` says why, and all else of the daemon works."""
        self._opened = True
        try:
            async with asyncio.timeout(OPEN_S):
                await asyncio.shield(asyncio.wrap_future(self._carrier.start()))
        except TimeoutError:
            self._log.error("the view did not come up within %g s; going on without", OPEN_S)
            return
        if self._carrier.trouble is not None:
            self._log.warning("the view is unavailable: %s", self._carrier.trouble)

    @property
    def hide_dot(self) -> bool:
        """Whether names with a dot in front are left out of the listing of the top; they can be entered anyway."""
        return self._carrier.files.hide_dot

    @hide_dot.setter
    def hide_dot(self, value: bool) -> None:
        self._carrier.files.hide_dot = value

    def publish(self, snapshots: tuple[Exposed, ...]) -> None:
        """Show exactly ``snapshots`` from now on. Files open in one that is not among them fail with ESTALE."""
        before = self._carrier.files.shown
        after = Shown.of(snapshots, before)
        self._carrier.files.shown = after
        self._carrier.later(self._settle, before, after)

    def _settle(self, before: Shown, after: Shown) -> None:
        self._carrier.files.closed(key for key, root in before.roots.items() if after.roots.get(key) != root)
        self._carrier.forget((TOP, name) for name in before.gone(after))

    async def aclose(self) -> None:
        """Unmount, whoever is in there, and end the thread, within about CLOSE_S. Idempotent."""
        if self._opened:
            self._opened = False
            if not await asyncio.to_thread(self._carrier.end, CLOSE_S):
                self._log.error("the view did not end within %g s: a disk does not answer a reader", CLOSE_S)

    def facts(self) -> ViewFacts:
        """Whether and where it is mounted, and what was asked of it."""
        files, trouble = self._carrier.files, self._carrier.trouble
        return ViewFacts(
            state="mounted" if trouble is None else "unavailable",
            mount=str(self._mount) if trouble is None else None,
            reason=trouble or "",
            snapshots=len(files.shown.shelves),
            opens=files.counts.opens,
            reads=files.counts.reads,
            read_bytes=files.counts.read_bytes,
        )
