"""The seam to the operating system: everything that supervising a process needs, and nothing more.

:class:`Os` is what the drivers see; :class:`~svcmgr.proc.osapi.RealOs` is Linux, and tests have another one whose
processes are objects. A process is handled by its pidfd: the descriptor names one process for ever, so a signal sent
through it cannot hit a stranger who got the number later.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

from svcmgr.proc.identity import ExitStatus, Identity
from svcmgr.proc.spec import Marker, ProcSpec
from svcmgr.proc.tree import Tree


@attrs.frozen
class Handle:
    """One process held by its pidfd."""

    identity: Identity
    pidfd: int

    @property
    def pid(self) -> int:
        return self.identity.pid


class Os(Protocol):
    """What supervision asks of the operating system. Calls do not block."""

    def become_subreaper(self) -> None:
        """Inherit orphaned descendants from now on. Raises NotPermitted."""
        ...

    def boot_id(self) -> str:
        """The random id of this boot of the host."""
        ...

    def marked(self, root: str) -> dict[str, list[Identity]]:
        """Every living process of this run directory by service, oldest first: what a dead svcmgrd left."""
        ...

    def environ(self, pid: int) -> bytes:
        """The initial environment of ``pid``, NUL separated; empty when it is gone or not ours to read."""
        ...

    def make_dirs(self, spec: ProcSpec) -> None:
        """Create the directories that ``spec`` names files in. Raises StorageFailed."""
        ...

    def check_pidfile(self, spec: ProcSpec) -> None:
        """Raises PidfileHeld, PidfileUnusable when the daemon could not lock its pidfile."""
        ...

    def write_pidfile(self, spec: ProcSpec, pid: int) -> None:
        """Write it, where the spec wants us to. Raises StorageFailed."""
        ...

    def remove_pidfile(self, spec: ProcSpec, pid: int) -> None:
        """Remove what ``pid``, whose exit was seen, left behind."""
        ...

    def read_pidfile(self, spec: ProcSpec) -> int | None:
        """The holder of its lock, or else the number written in it, or None."""
        ...

    def detach_mount(self, path: Path) -> None:
        """Take away the mounts of a daemon of ours at ``path``, if there are any. Raises NotPermitted."""
        ...

    def spawn(self, spec: ProcSpec) -> Handle:
        """Start a child in its own session. Raises SpawnFailed: then nothing was started."""
        ...

    def abort(self, handle: Handle) -> None:
        """Kill, reap and close a child that was started a moment ago."""
        ...

    def identity(self, pid: int) -> Identity | None:
        """Who has this number now; None when nobody living has."""
        ...

    def open(self, identity: Identity) -> Handle | None:
        """Hold this very process; None when it is dead, whoever has its number now.

        Raises Busy when no descriptor is left for it.
        """
        ...

    def close(self, handle: Handle) -> None:
        """Let go; stops watching too."""
        ...

    def watch(self, handle: Handle, callback: Callable[[], None]) -> None:
        """Call back once, when the process has exited."""
        ...

    def watch_reaped(self, handle: Handle, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once, when somebody else has reaped the process. Returns how to give up."""
        ...

    def send_signal(self, handle: Handle, number: int) -> bool:
        """Signal this very process; False when it is gone. Raises NotPermitted."""
        ...

    def signal_group(self, handle: Handle, number: int) -> None:
        """Signal the process group of a child that is not reaped yet; does nothing for others."""
        ...

    def peek(self, handle: Handle) -> ExitStatus | None:
        """How it ended, leaving it unreaped if it is ours; None when not known yet."""
        ...

    def reap(self, handle: Handle) -> None:
        """Free the number of an exited child. Does nothing for others."""
        ...

    def claim(self, handle: Handle) -> None:
        """From now on the exit status of this process is its holder's, should it be or become our child."""
        ...

    def disown(self, handle: Handle) -> None:
        """From now on this child is a stranger, reaped with the others."""
        ...

    def watch_children(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever some child has ended, at least once for any number. Returns how to end that."""
        ...

    def reap_strangers(self) -> list[tuple[int, ExitStatus]]:
        """Reap the dead among children that nobody holds."""
        ...

    def tree_of(self, handle: Handle, marker: Marker | None) -> Tree:
        """The marks by which to know the tree of a process that we did not start just now."""
        ...

    def members(self, tree: Tree, *, main_alive: bool, fresh: bool = False) -> list[Identity]:
        """The living processes of ``tree`` except its main process."""
        ...

    def descendants(self, main: Identity) -> list[Identity]:
        """The living descendants of ``main`` along living parents."""
        ...
