"""What a service needs from outside, as one argument: the operating system, time, chance, and its supervisor's ears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from svcmgr.clock import Clock
from svcmgr.paths import Layout
from svcmgr.proc import Os
from svcmgr.svc.backoff import Rng
from svcmgr.svc.events import Event


class Timer(Protocol):
    """What asyncio's call_later returns, as far as it is used."""

    def cancel(self) -> None:
        """Forget it; a fired or cancelled timer may be cancelled again."""
        ...


class Listener(Protocol):
    """The supervisor as its services see it."""

    def post(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the supervisor's queue, after everything that is already on it."""
        ...

    def emit(self, event: Event) -> None:
        """Publish a fact."""
        ...

    def changed(self, key: str) -> None:
        """Something visible of service ``key`` changed."""
        ...

    def why_held(self, key: str) -> str:
        """Why a start of service ``key`` has to wait for others now, or ""."""
        ...

    def call_later(self, delay: float, action: Callable[[], None]) -> Timer:
        """Run ``action`` on the queue in ``delay`` seconds."""
        ...

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` as a task that ends with the supervisor at the latest."""
        ...


class Volfiles(Protocol):
    """The volfile server as services see it."""

    def publish(self, volfile_id: str, text: str, owner: str) -> object:
        """Serve ``text`` under ``volfile_id`` from now on. Raises AlreadyExists, BadVolfile; then the old one stays."""
        ...

    def withdraw(self, owner: str) -> None:
        """Serve nothing of service ``owner`` any more."""
        ...


class NoVolfiles:
    """For hosts without a volfile server."""

    def publish(self, volfile_id: str, text: str, owner: str) -> object:
        """Nobody asks."""

    def withdraw(self, owner: str) -> None:
        """Nothing is served."""


@attrs.frozen
class Seams:
    """``environ`` is what services inherit; ``short_dir`` holds sockets whose readable path is too long; ``control``
    is svcmgrd's own socket, where daemons fetch their volfiles; ``cgroups`` is the directory for their control groups,
    where the host lets us have one.
    """

    os: Os
    clock: Clock
    rng: Rng
    layout: Layout
    short_dir: Path
    control: Path
    environ: Mapping[str, str]
    listener: Listener
    cgroups: Path | None = None
    volfiles: Volfiles = attrs.field(factory=NoVolfiles)
