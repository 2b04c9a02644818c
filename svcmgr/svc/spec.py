"""What a service is asked to be: a frozen description, complete, validated, comparable.

A spec says nothing about now. Two of them compare field by field; :data:`LIVE_FIELDS` are those that take effect
without a new process, everything else needs a restart. The digest covers the latter, and is how a later svcmgrd
knows whether a process it finds was started from the definition it has.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from svcmgr.errors import BadInput
from svcmgr.paths import SOCKET_PATH_MAX
from svcmgr.svc.backoff import BackoffSpec
from svcmgr.svc.graph import Links
from svcmgr.svc.lifecycle import Restart


class ReadyKind(enum.Enum):
    """How we learn that a service can serve."""

    NONE = "none"
    UP = "up"
    PING = "ping"
    NOTIFY = "notify"
    PIDFILE = "pidfile"
    TCP = "tcp"
    UNIX = "unix"
    COMMAND = "command"

    @property
    def waits(self) -> bool:
        """Whether there is anything to wait for after the spawn."""
        return self is not ReadyKind.NONE


@attrs.frozen
class Readiness:
    """One readiness rule. ``target`` is a path, a host or a shell-free command line; ``port`` for TCP."""

    kind: ReadyKind
    target: str = ""
    port: int = 0
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Readiness:
        """Read ``none``, ``up:SECONDS``, ``ping``, ``notify``, ``pidfile:PATH``, ``tcp:HOST:PORT``,
        ``unix:PATH`` or ``command:LINE``. Raises BadInput.
        """
        word, _, rest = text.partition(":")
        try:
            kind = ReadyKind(word)
        except ValueError:
            known = ", ".join(k.value for k in ReadyKind)
            raise BadInput(f"cannot use readiness {text!r}: know {known}") from None
        if kind in (ReadyKind.NONE, ReadyKind.PING, ReadyKind.NOTIFY):
            if rest:
                raise BadInput(f"cannot use readiness {text!r}: {word} takes no argument")
            return cls(kind)
        if not rest:
            raise BadInput(f"cannot use readiness {text!r}: {word} needs an argument after the colon")
        return cls._with_argument(kind, rest, text)

    @classmethod
    def _with_argument(cls, kind: ReadyKind, rest: str, text: str) -> Readiness:
        if kind is ReadyKind.UP:
            return cls(kind, seconds=_seconds(rest, text))
        if kind is ReadyKind.TCP:
            host, _, port = rest.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise BadInput(f"cannot use readiness {text!r}: give tcp:HOST:PORT with a port from 1 to 65535")
            return cls(kind, host.strip("[]"), int(port))
        if kind is not ReadyKind.COMMAND and not rest.startswith("/"):
            raise BadInput(f"cannot use readiness {text!r}: the path must be absolute")
        if kind is ReadyKind.COMMAND:
            _words(rest, text)
        size = len(rest.encode(errors="surrogateescape"))
        if kind is ReadyKind.UNIX and size > SOCKET_PATH_MAX:
            raise BadInput(
                f"cannot use readiness {text!r}: its path has {size} bytes, a socket address holds {SOCKET_PATH_MAX}"
            )
        return cls(kind, rest)

    def __str__(self) -> str:
        if self.kind is ReadyKind.UP:
            return f"up:{self.seconds:g}"
        if self.kind is ReadyKind.TCP:
            host = f"[{self.target}]" if ":" in self.target else self.target
            return f"tcp:{host}:{self.port}"
        return f"{self.kind.value}:{self.target}" if self.target else self.kind.value


def _words(line: str, text: str) -> None:
    """Refuse a command line that cannot be split into words."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise BadInput(f"cannot use readiness {text!r}: {str(error).lower()} in the command line") from None
    if not words or not words[0] or "\0" in line:
        raise BadInput(f"cannot use readiness {text!r}: the command line names no program")


def _seconds(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise BadInput(f"cannot use readiness {text!r}: give seconds between 0 and 3600")
    return value


@attrs.frozen
class ServiceSpec:
    """Everything an operator decides about one service. Durations in seconds, sizes in bytes."""

    key: str
    kind: str = "command"
    command: tuple[str, ...] = ()
    description: str = ""
    cwd: str = "/"
    env: Mapping[str, str] = attrs.field(factory=dict)
    env_clean: bool = False
    user: str | None = None
    group: str | None = None
    umask: int = 0o022
    nice: int | None = None
    rlimits: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)
    restart: Restart = Restart.ON_FAILURE
    backoff: BackoffSpec = attrs.field(factory=BackoffSpec)
    ready: Readiness = Readiness(ReadyKind.NONE)
    start_timeout: float = 30.0
    stop_signal: str = "SIGTERM"
    stop_grace: float = 10.0
    reload_signal: str = ""
    links: Links = attrs.field(factory=Links)
    enabled: bool = True
    watchdog: float = 0.0
    hang_timeout: float = 0.0
    log_max_bytes: int = 10 * 1024 * 1024
    log_keep: int = 5
    cgroup: bool = False
    options: Mapping[str, Any] = attrs.field(factory=dict)
    source: Path | None = attrs.field(default=None, eq=False)

    @property
    def instance(self) -> str | None:
        """The part of the key behind ``@``, if any."""
        return self.key.partition("@")[2] or None

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits over all fields that need a new process to take effect.

        Defaults are left out, so that a later version with one more field takes running processes for what they are.
        """
        values = {name: getattr(self, name) for name in sorted(PROCESS_FIELDS)}
        parts = [f"{name}={_stable(v)}" for name, v in values.items() if v != getattr(_DEFAULTS, name)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _stable(value: Any) -> str:
    if isinstance(value, Mapping):
        return repr(sorted((k, _stable(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return repr([_stable(v) for v in value])
    return repr(value)


_DEFAULTS = ServiceSpec("defaults")


#: A change of these needs a new process.
PROCESS_FIELDS = frozenset(
    [
        "kind",
        "command",
        "cwd",
        "env",
        "env_clean",
        "user",
        "group",
        "umask",
        "nice",
        "rlimits",
        "watchdog",
        "cgroup",
        "options",
    ]
)
#: A change of these takes effect on the running service.
LIVE_FIELDS = frozenset(a.name for a in attrs.fields(ServiceSpec)) - PROCESS_FIELDS - {"key", "source"}


def changed_fields(old: ServiceSpec, new: ServiceSpec) -> dict[str, tuple[Any, Any]]:
    """Field name -> (old value, new value) for every field that differs."""
    names = sorted(PROCESS_FIELDS | LIVE_FIELDS)
    return {n: (getattr(old, n), getattr(new, n)) for n in names if getattr(old, n) != getattr(new, n)}
