"""The volfile of one service: which text is in force, which is served, and how a change reaches the running daemon.

Three steps, each taken only when the one before does not do. The same text: nothing. Other options of the same graph:
the new text is written and served, this one daemon is told, fetches it and confirms what it applied. Another graph: the
new text is written and served, and the process is replaced. A text that is broken is refused before anything is
written; one that the daemon itself refuses is taken back, so that file, server and daemon agree again.

``NAME.vol`` always is what the daemon confirmed. While a daemon is asked, the new text is in ``NAME.vol.new`` beside
it; a svcmgrd that finds one does not know how that went, and asks again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import attrs

from svcmgr.conn import Connection
from svcmgr.conn import State as ConnState
from svcmgr.errors import BadInput, ConnectionFault, SvcmgrError
from svcmgr.fsutil import read_limited
from svcmgr.svc import launch
from svcmgr.svc.change import Change, Verdict
from svcmgr.svc.seams import Seams

#: No volfile of ours is larger.
VOLFILE_MAX = 4 * 1024 * 1024
#: What a daemon may take to fetch and apply a configuration, seconds: the deadline of its verb ``reconfigure``.
_TELL_S = 60.0


class Owner(Protocol):
    """The service, as far as it is needed here."""

    seams: Seams
    conn: Connection | None

    @property
    def key(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    def volfile(self) -> str | None: ...
    def volfile_id(self) -> str: ...
    def compare(self, old: str, new: str) -> Change: ...


@attrs.frozen
class Told:
    """What came of telling a daemon.

    ``word``: "reconfigured"; "deferred", when it does not answer and is told as soon as it does; or "failed", when it
    refused and the configuration in force stays.
    """

    word: str
    text: str = ""
    code: str = ""


class Configuring:
    """One per service."""

    __slots__ = ("_owner", "in_force", "stale")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        #: what the process runs with, or ran with last; None: not known, or it has none
        self.in_force: str | None = None
        #: why the daemon still has to be told, or ""
        self.stale = ""

    @property
    def path(self) -> Path:
        """Where the text in force is kept, for people and for the next svcmgrd."""
        return self._owner.seams.layout.service_volfile(self._owner.key)

    def prepare(self) -> Path | None:
        """Write and serve what the next process will fetch; None when it has no volfile.

        Raises:
            BadVolfile: it is broken.
            StorageFailed: the file system refused; the old content is then in force.
        """
        text = self._owner.volfile()
        if text is None:
            self._owner.seams.volfiles.withdraw(self._owner.key)
        else:
            launch.write_volfile(self.path, text)
            self._serve(text)
        self._undecided.unlink(missing_ok=True)
        self.in_force, self.stale = text, ""
        return self.path if text is not None else None

    @property
    def _undecided(self) -> Path:
        return self.path.with_name(self.path.name + ".new")

    def _serve(self, text: str) -> None:
        self._owner.seams.volfiles.publish(self._owner.volfile_id(), text, self._owner.key)

    def serve(self) -> None:
        """Serve the text while no process is there, for one that is started by hand. Raises BadVolfile."""
        text = self._owner.volfile()
        if text is not None:
            self._serve(text)

    def resume(self) -> None:
        """A process of an earlier svcmgrd was adopted: what it runs with is what that one wrote."""
        if self._owner.volfile() is None:
            return
        try:
            self.in_force = read_limited(self.path, VOLFILE_MAX).decode()
            self._serve(self.in_force)
        except (OSError, BadInput, UnicodeDecodeError):
            self.in_force = None  # lost: the daemon is told, and compares checksums itself
        if self._undecided.exists():
            self.in_force = None

    def plan(self) -> Change:
        """What the volfile of now means for the process that is there. Changes nothing. Raises BadVolfile."""
        return self.plan_for(self._owner.volfile())

    def plan_for(self, text: str | None) -> Change:
        """The same for ``text``."""
        if not self._owner.alive or text is None or text == self.in_force:
            return Change(Verdict.NONE)
        if self.in_force is None:
            return Change(Verdict.TELL, "what it runs with is not known")
        return self._owner.compare(self.in_force, text)

    async def tell(self, change: Change) -> Told:
        """Write and serve the text of now, tell the daemon and wait until it confirms. Raises nothing of its own.

        Raises:
            StorageFailed: the text cannot be written; nothing changed.
        """
        before, text = self.in_force, self._owner.volfile()
        assert text is not None
        launch.write_volfile(self._undecided, text)
        self._serve(text)
        conn = self._owner.conn
        if conn is None or conn.state is not ConnState.UP:
            return self._defer(change)
        try:
            answer = await conn.call("reconfigure", timeout=_TELL_S)
        except ConnectionFault:
            return self._defer(change)
        except SvcmgrError as error:
            if before is not None:
                self._serve(before)
            self._undecided.unlink(missing_ok=True)
            return Told("failed", error.message, error.code)
        self._undecided.replace(self.path)
        self.in_force, self.stale = text, ""
        applied = answer.get("checksum") if isinstance(answer, dict) else None
        if applied != checksum(text):
            return Told("failed", f"it answered, but runs with checksum {applied}, not {checksum(text)}", "protocol")
        return Told("reconfigured", change.text)

    def _defer(self, change: Change) -> Told:
        self.stale = change.text or "its volfile changed"
        return Told("deferred", f"it does not answer; it is told as soon as it does: {self.stale}")


def checksum(text: str) -> str:
    """SHA-256 in hex, as the volfile server gives it to daemons."""
    return hashlib.sha256(text.encode()).hexdigest()
