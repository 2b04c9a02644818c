"""The view over changes of the configuration: opened, moved to another mount point, told what to show, closed.

A view is never moved: the new one is opened beside the old one, and only when it stands is the old one closed. So a
mount point that cannot be used costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from svcmgr.errors import BadInput, Unsupported
from svcmgr.fsutil import make_dir
from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.view import View
from svcmgr.services.snapd.wire import ViewFacts

_OFF = ViewFacts("off", reason="features.snapshot-view of the volume is off")
_MOUNTED = "mounted"


class Showing:
    """One per snapd. ``exposed`` answers the activated snapshots."""

    def __init__(self, log: logging.Logger, exposed: Callable[[], tuple[Exposed, ...]]) -> None:
        self._log = log
        self._exposed = exposed
        self._view: View | None = None
        self._mount: Path | None = None

    async def open(self, settings: Settings) -> None:
        """Mount, where the volume wants it and the host can; else the facts say why not."""
        if settings.mount is not None:
            self._view, self._mount = await self._opened(settings, settings.mount), settings.mount

    async def take_over(self, settings: Settings) -> None:
        """Show by ``settings`` from now on.

        Raises:
            BadInput, StorageFailed: the new mount point cannot be one; everything is as it was.
            Unsupported: it cannot be mounted there, although it was where it was; everything is as it was.
        """
        if self._view is None or settings.mount is None:
            return  # another shape, which takes another process
        if settings.mount != self._mount:
            await self._move(settings, settings.mount)
        self._view.hide_dot = settings.hide_dot

    async def _move(self, settings: Settings, mount: Path) -> None:
        assert self._view is not None
        await asyncio.to_thread(check_mount_point, mount)
        fresh = await self._opened(settings, mount)
        if (facts := fresh.facts()).state != _MOUNTED and self._view.facts().state == _MOUNTED:
            await fresh.aclose()
            raise Unsupported(f"cannot mount the snapshots at {mount}: {facts.reason}", path=str(mount))
        old, self._view, self._mount = self._view, fresh, mount
        await old.aclose()

    async def _opened(self, settings: Settings, mount: Path) -> View:
        view = View(mount, settings.hide_dot, self._log, volume=settings.volume)
        await view.open()
        view.publish(self._exposed())
        return view

    def publish(self) -> None:
        """What is activated may be something else now."""
        if self._view is not None:
            self._view.publish(self._exposed())

    def facts(self) -> ViewFacts:
        """For the verb ``view``."""
        return self._view.facts() if self._view is not None else _OFF

    def place_of(self, name: str) -> str | None:
        """Where the snapshot of that name is seen, when there is a mount."""
        mount = self.facts().mount
        return None if mount is None else os.path.join(mount, name)

    async def aclose(self) -> None:
        """Unmount. Idempotent."""
        view, self._view = self._view, None
        if view is not None:
            await view.aclose()


def check_mount_point(mount: Path) -> None:
    """Whether something may be mounted there; it is made where it is missing. Raises BadInput, StorageFailed."""
    make_dir(mount)
    if os.listdir(mount):
        raise BadInput(
            f"cannot mount the snapshots at {mount}: the directory is not empty, and a mount would hide what is in it; "
            "choose an empty one",
            path=str(mount),
        )
