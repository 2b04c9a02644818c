"""The sd_notify datagram: what a process tells its supervisor about itself.

Theory of operation. A supervised process finds the address of a unix datagram socket in NOTIFY_SOCKET and
sends lines of ``KEY=value`` to it (sd_notify(3)). :func:`build` and :func:`parse` are the two halves of that
format and touch nothing; :func:`notify` is the only function here that performs I/O, one datagram per call.

Whoever parses must expect anything, because every process that can reach the socket may write to it: the size is
limited, a value that does not fit its key is dropped and counted instead of failing the whole datagram, keys that
are not known are kept apart, and control characters never reach a terminal through ``status``.

READY, RELOADING and STOPPING contradict each other; when one datagram carries several of them, the last counts.
Of any other repeated key also the last counts.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from svcmgr.errors import BadInput, ConnectionFault
from svcmgr.paths import SOCKET_PATH_MAX

#: Larger datagrams are refused. systemd reads at most one page of 4096 bytes as well (sd_notify(3), "STATUS").
MAX_DATAGRAM = 4096
#: PID_MAX_LIMIT of 64-bit Linux (proc(5), /proc/sys/kernel/pid_max).
MAX_PID = 1 << 22
#: errno values end at MAX_ERRNO (linux: include/linux/err.h).
MAX_ERRNO = 4095
_MAX_USEC = (1 << 64) - 1

_KEY = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_NUMBER = re.compile(r"[0-9]{1,20}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Notification(msgspec.Struct, frozen=True, omit_defaults=True):
    """One datagram. At most one of ``ready``, ``reloading``, ``stopping`` is true after :func:`parse`.

    ``*_usec`` are microseconds; ``monotonic_usec`` is CLOCK_MONOTONIC and accompanies ``reloading``. ``unknown`` has
    the keys this version does not know; ``dropped`` counts lines that were malformed or out of range.
    """

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    status: str | None = None
    mainpid: int | None = None
    errno: int | None = None
    watchdog: bool = False
    watchdog_trigger: bool = False
    watchdog_usec: int | None = None
    extend_timeout_usec: int | None = None
    monotonic_usec: int | None = None
    unknown: dict[str, str] = {}
    dropped: int = 0


_STATES = ("ready", "reloading", "stopping")
#: Numeric fields: the smallest and the largest value that is believed.
_RANGES = {
    "mainpid": (1, MAX_PID),
    "errno": (0, MAX_ERRNO),
    "watchdog_usec": (0, _MAX_USEC),
    "extend_timeout_usec": (0, _MAX_USEC),
    "monotonic_usec": (0, _MAX_USEC),
}


def build(note: Notification) -> bytes:
    """The datagram for ``note``. ``dropped`` is not sent; a control character in a text becomes a space.

    Raises:
        BadInput: a number out of range, a key that cannot be sent, nothing to say, or over MAX_DATAGRAM bytes.
    """
    lines = [f"{name.upper()}=1" for name in _STATES if getattr(note, name)]
    if note.status is not None:
        lines.append(f"STATUS={_CONTROL.sub(' ', note.status)}")
    lines += [_number_line(name, value) for name in _RANGES if (value := getattr(note, name)) is not None]
    if note.watchdog:
        lines.append("WATCHDOG=1")
    if note.watchdog_trigger:
        lines.append("WATCHDOG=trigger")
    lines += [_unknown_line(key, value) for key, value in note.unknown.items()]
    data = "\n".join(lines).encode("utf-8", "replace")
    if not data:
        raise BadInput("cannot build a notification: it says nothing")
    if len(data) > MAX_DATAGRAM:
        raise BadInput(f"cannot build a notification: {len(data)} bytes, the limit is {MAX_DATAGRAM}; shorten STATUS")
    return data


def _number_line(name: str, value: int) -> str:
    low, high = _RANGES[name]
    if not low <= value <= high:
        raise BadInput(f"cannot build a notification: {name.upper()}={value} is not within {low}..{high}")
    return f"{name.upper()}={value}"


def _unknown_line(key: str, value: str) -> str:
    if not _KEY.match(key) or key in _READERS:
        raise BadInput(f"cannot build a notification: {key!r} cannot be sent as an unknown key")
    return f"{key}={_CONTROL.sub(' ', value)}"


def parse(datagram: bytes) -> Notification:
    """What ``datagram`` says. Lines that say nothing valid are counted in ``dropped``, never an error.

    Raises:
        BadInput: over MAX_DATAGRAM bytes; nothing of it was looked at.
    """
    if len(datagram) > MAX_DATAGRAM:
        raise BadInput(
            f"cannot parse a notification: {len(datagram)} bytes, the limit is {MAX_DATAGRAM}", size=len(datagram)
        )
    fields: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    dropped = 0
    # A sender in C may count the final NUL of its string as data.
    for line in datagram.rstrip(b"\0").split(b"\n"):
        if line and not _read_line(line, fields, unknown):
            dropped += 1
    return Notification(**fields, unknown=unknown, dropped=dropped)


def _read_line(line: bytes, fields: dict[str, Any], unknown: dict[str, str]) -> bool:
    try:
        key, equals, value = line.decode("utf-8").partition("=")
    except UnicodeDecodeError:
        return False
    if not equals or not _KEY.match(key):
        return False
    reader = _READERS.get(key)
    if reader is None:
        unknown[key] = _CONTROL.sub("\ufffd", value)
        return True
    update = reader(value)
    fields.update(update)
    return bool(update)


def _read_state(name: str) -> Callable[[str], dict[str, Any]]:
    return lambda value: {other: other == name for other in _STATES} if value == "1" else {}


def _read_number(name: str) -> Callable[[str], dict[str, Any]]:
    low, high = _RANGES[name]

    def read(value: str) -> dict[str, Any]:
        return {name: int(value)} if _NUMBER.match(value) and low <= int(value) <= high else {}

    return read


def _read_watchdog(value: str) -> dict[str, Any]:
    return {"1": {"watchdog": True}, "trigger": {"watchdog_trigger": True}}.get(value, {})


_READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    **{name.upper(): _read_state(name) for name in _STATES},
    **{name.upper(): _read_number(name) for name in _RANGES},
    "STATUS": lambda value: {"status": _CONTROL.sub("\ufffd", value)},
    "WATCHDOG": _read_watchdog,
}


def watchdog_timeout(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds within which the supervisor wants a WATCHDOG=1 from process ``pid``; None when it wants none.

    The rule of sd_watchdog_enabled(3): WATCHDOG_USEC is a positive number, and WATCHDOG_PID, if set, is us. A value
    that is not a number asks for nothing. Send at half of this.
    """
    usec = environ.get("WATCHDOG_USEC", "")
    owner = environ.get("WATCHDOG_PID", str(pid))
    if not _NUMBER.match(usec) or owner != str(pid):
        return None
    return int(usec) / 1e6 or None


def notify(environ: Mapping[str, str], **fields: Any) -> bool:
    """Send one :class:`Notification` made of ``fields`` to the socket named by NOTIFY_SOCKET; never blocks.

    ``@name`` is an abstract socket (unix(7)). Returns False, having done nothing, when NOTIFY_SOCKET is not set.

    Raises:
        BadInput: the address is not a unix path or abstract name, or the fields cannot be built.
        ConnectionFault: nobody listens there, or its queue is full (``details['errno']``).
    """
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    data = build(Notification(**fields))
    target = _target(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, target)
        except OSError as error:
            raise ConnectionFault(
                f"cannot notify {address}: {error.strerror} (errno {error.errno})", errno=error.errno
            ) from error
    return True


def _target(address: str) -> bytes:
    raw = os.fsencode(address)
    if raw[:1] not in (b"/", b"@") or len(raw) == 1 or b"\0" in raw:
        raise BadInput(f"cannot notify {address!r}: only /path and @abstract addresses are supported")
    if len(raw) > SOCKET_PATH_MAX:
        raise BadInput(f"cannot notify {address!r}: {len(raw)} bytes, a socket address holds {SOCKET_PATH_MAX}")
    return b"\0" + raw[1:] if raw[:1] == b"@" else raw
