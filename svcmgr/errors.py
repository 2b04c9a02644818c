"""Every error svcmgr raises, with the stable code each one has on the wire.

Rules. One root, :class:`SvcmgrError`. A class names *who must act*, its ``code`` never changes once
released, and its message starts with "cannot", names the object, gives the number and says what to do
next. Code branches on the class or the code, never on the text. ``exit_code`` is what a command line
tool exits with when this error ends it (see ``docs/cli.md``).

A peer's error arrives as ``(code, message, details)``; :func:`from_wire` turns it back into the class of
that code, or into :class:`RemoteError` when the peer knows a code we do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_NO_SVCMGRD = 4
EXIT_TIMEOUT = 5


class SvcmgrError(Exception):
    """Root of all errors. ``details`` is a JSON-able mapping for programs; the text is for people."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


# --- the caller must act -------------------------------------------------------------------------


class BadInput(SvcmgrError):
    """What was asked cannot be understood: a bad name, an unknown option, a wrong type."""

    code = "bad-input"
    exit_code = EXIT_USAGE


class BadDefinition(BadInput):
    """A service definition is refused; the message carries file, line and key where known."""

    code = "bad-definition"


class UnknownService(BadInput):
    """No service of that name; ``details['near']`` lists the closest known names."""

    code = "unknown-service"


class UnknownKind(BadInput):
    """No service kind of that name; ``details['known']`` lists the registered ones."""

    code = "unknown-kind"


class UnknownVerb(BadInput):
    """The peer has no such verb."""

    code = "unknown-verb"


class DependencyCycle(BadDefinition):
    """``requires``/``after`` form a cycle; the message names the whole path."""

    code = "dependency-cycle"


class UnknownVolume(BadInput):
    """No volume of that name; ``details['near']`` lists the closest known names."""

    code = "unknown-volume"


class UnknownOption(BadInput):
    """A volume has no such option; ``details['near']`` lists the closest known names."""

    code = "unknown-option"


class BadVolfile(BadInput):
    """A volfile is not in the grammar, or its graph is not one; ``details`` have line and column where known."""

    code = "bad-volfile"


class UnknownSnapshot(BadInput):
    """A volume has no such snapshot; ``details['near']`` lists the closest known names."""

    code = "unknown-snapshot"


class UnknownSchedule(BadInput):
    """A volume has no such snapshot schedule; ``details['known']`` lists those it has."""

    code = "unknown-schedule"


class AlreadyExists(SvcmgrError):
    """An object of that name is there already."""

    code = "already-exists"


class Busy(SvcmgrError):
    """The object is in a state that forbids the request (for example: remove while running)."""

    code = "busy"


class NotPermitted(SvcmgrError):
    """The caller's credentials do not allow this verb or file."""

    code = "not-permitted"


class NotRunning(SvcmgrError):
    """The request needs a running service."""

    code = "not-running"
    exit_code = EXIT_NOT_RUNNING


# --- the connection ------------------------------------------------------------------------------


class ConnectionFault(SvcmgrError):
    """Root of everything that happens *between* two processes."""

    code = "connection"


class NoSvcmgrd(ConnectionFault):
    """No host daemon answers on this root."""

    code = "no-svcmgrd"
    exit_code = EXIT_NO_SVCMGRD


class Disconnected(ConnectionFault):
    """The connection went away; a call in flight may or may not have been carried out."""

    code = "disconnected"


class FrameTimeout(ConnectionFault):
    """No answer within the call's frame timeout; the call may still be carried out by the peer."""

    code = "frame-timeout"
    exit_code = EXIT_TIMEOUT


class FrameTooLarge(ConnectionFault):
    """A frame is over the size limit of the connection."""

    code = "frame-too-large"


class TooManyCalls(ConnectionFault):
    """The limit of calls in flight on one connection is reached."""

    code = "too-many-calls"


class TooManyConnections(ConnectionFault):
    """The server serves its maximum of connections."""

    code = "too-many-connections"


class SlowReader(ConnectionFault):
    """The peer does not read what it asked for; the connection was closed to protect the server."""

    code = "slow-reader"


class ProtocolFault(ConnectionFault):
    """Bytes that are not this protocol."""

    code = "protocol"


class RemoteError(SvcmgrError):
    """The peer answered with an error code this version does not know."""

    code = "remote"


class InternalError(SvcmgrError):
    """Our bug: a handler raised something that is not a :class:`SvcmgrError`. The log has the traceback."""

    code = "internal"


class DeadlineExceeded(SvcmgrError):
    """The work did not end within the time the caller allowed; it may still go on."""

    code = "timeout"
    exit_code = EXIT_TIMEOUT


# --- processes and services ----------------------------------------------------------------------


class SpawnFailed(SvcmgrError):
    """The program could not be started: missing, not executable, no such user, a limit."""

    code = "spawn-failed"


class PidfileHeld(SvcmgrError):
    """Another live process holds the lock of this pidfile; ``details['pid']`` is its owner."""

    code = "pidfile-held"


class PidfileUnusable(SvcmgrError):
    """The pidfile path cannot serve: a directory, no permission, a missing parent."""

    code = "pidfile-unusable"


class StartFailed(SvcmgrError):
    """A service did not become ready; ``details`` carry code or signal and the log tail."""

    code = "start-failed"


class StopFailed(SvcmgrError):
    """A process survived SIGKILL until the deadline (state D, another pid namespace)."""

    code = "stop-failed"


class ReconfigureFailed(SvcmgrError):
    """A running daemon refused its new configuration or could not get it; the one in force stays."""

    code = "reconfigure-failed"


class IllegalTransition(SvcmgrError):
    """An event has no cell in its machine's table; nothing was changed."""

    code = "illegal-transition"


class StorageFailed(SvcmgrError):
    """The file system refused a write (full, read-only); the previous content is intact."""

    code = "storage-failed"


class LowSpace(StorageFailed):
    """The file system has less free space than its guard wants kept; nothing was written."""

    code = "low-space"


class Unsupported(SvcmgrError):
    """This host or file system cannot do it; the message says what is missing."""

    code = "unsupported"


class SecondDaemon(SvcmgrError):
    """A svcmgrd serves this root already; ``details['pid']`` is the first one."""

    code = "second-svcmgrd"


def _classes(root: type[SvcmgrError]) -> Iterator[type[SvcmgrError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


def from_wire(code: str, message: str, details: dict[str, Any] | None = None) -> SvcmgrError:
    """The error a peer reported, as the class of its code.

    Unknown codes become :class:`RemoteError` with ``details['code']`` set, so that a newer peer never
    makes an older client fail in a second way.
    """
    for cls in _classes(SvcmgrError):
        if cls.code == code:
            return cls(message, **(details or {}))
    return RemoteError(message, **{**(details or {}), "code": code})
