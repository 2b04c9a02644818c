"""What to run and how to end it: the frozen description of one process.

Theory of operation. A :class:`ProcSpec` is complete: nothing of the parent's environment, working directory
or limits is inherited by accident, so what runs is what is written. It is checked when it is made, each
refusal names the field, and it never changes; a new configuration is a new spec, compared with ``==``.

Two environment variables make a *marker*, by which orphaned descendants are recognised after they left the
session of their service: ``SVCMGR_SERVICE`` (the service key) and ``SVCMGR_ROOT`` (the run directory). A spec
whose ``env`` lacks them works, but children that call setsid(2) and outlive their parent are then lost.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from svcmgr.errors import BadInput, SvcmgrError
from svcmgr.paths import check_key

MARK_SERVICE = "SVCMGR_SERVICE"
MARK_ROOT = "SVCMGR_ROOT"

#: Names of getrlimit(2) resources, without the RLIMIT_ prefix, in lower case.
RLIMITS = frozenset(
    (
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    )
)
#: "no limit" in an rlimit pair (RLIM_INFINITY).
UNLIMITED = -1

#: Longest duration accepted anywhere in a stop plan, seconds; longer is a mistake of units.
LONGEST_S = 24 * 3600.0


@attrs.frozen
class Marker:
    """The pair of environment variables that every process of a service inherits."""

    service: str
    root: str


def _refuse(field: str, value: object, why: str) -> BadInput:
    return BadInput(f"cannot use {field} = {value!r}: {why}", field=field)


def _seconds(_: object, field: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= LONGEST_S:
        raise _refuse(field.name, value, f"must be 0 to {LONGEST_S:.0f} seconds")


_ENDING_SIGNALS = frozenset(signal.valid_signals()) - {signal.SIGSTOP, signal.SIGCONT}


def _known_signal(_: object, field: attrs.Attribute[Any], value: int) -> None:
    if value not in _ENDING_SIGNALS:
        raise _refuse(field.name, value, "not a signal that can end a process")


@attrs.frozen
class StopPlan:
    """How a process is ended. All durations in seconds.

    ``grace_s``: from the stop signal to SIGKILL. ``kill_deadline_s``: from SIGKILL to giving up (a process in
    uninterruptible sleep cannot be killed). ``leftover_grace_s``: what children left behind by an ended main
    process get between SIGTERM and SIGKILL, at most.
    """

    signal: int = attrs.field(default=signal.SIGTERM, validator=_known_signal)
    grace_s: float = attrs.field(default=10.0, validator=_seconds)
    kill_deadline_s: float = attrs.field(default=5.0, validator=_seconds)
    leftover_grace_s: float = attrs.field(default=1.0, validator=_seconds)


def _argv(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if not value or not value[0]:
        raise _refuse(field.name, value, "needs at least the name of a program")
    if bad := next((word for word in value if "\0" in word), None):
        raise _refuse(field.name, bad, "a NUL byte cannot be passed to a program")


def _env(_: object, field: attrs.Attribute[Any], value: Mapping[str, str]) -> None:
    for key, text in value.items():
        if not key or "=" in key or "\0" in key or "\0" in text:
            raise _refuse(field.name, key, "names are not empty and hold no '='; nothing holds a NUL byte")


def _name(_: object, field: attrs.Attribute[Any], value: str) -> None:
    try:
        check_key(value)
    except SvcmgrError as error:
        raise BadInput(error.message, field=field.name) from error


def _absolute(_: object, field: attrs.Attribute[Any], value: Path | None) -> None:
    if value is not None and (not value.is_absolute() or "\0" in str(value)):
        raise _refuse(field.name, str(value), "must be an absolute path")


def _rlimits(_: object, field: attrs.Attribute[Any], value: Mapping[str, tuple[int, int]]) -> None:
    for name, (soft, hard) in value.items():
        if name not in RLIMITS:
            raise _refuse(field.name, name, "no such limit; known: " + ", ".join(sorted(RLIMITS)))
        if soft < UNLIMITED or hard < UNLIMITED:
            raise _refuse(field.name, name, "limits are 0 or more, or -1 for none")
        if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
            raise _refuse(field.name, name, f"the soft limit {soft} is over the hard limit {hard}")


def _within(low: int, high: int) -> Any:
    def check(_: object, field: attrs.Attribute[Any], value: int | None) -> None:
        if value is not None and not low <= value <= high:
            raise _refuse(field.name, value, f"must be {low} to {high}")

    return check


def _frozen_map(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value)


@attrs.frozen(kw_only=True)
class ProcSpec:
    """One process, completely described.

    Args:
        name: key of the service, ``name`` or ``name@instance``.
        argv: program and arguments; a program without a slash is looked up in the PATH of ``env``.
        env: the whole environment of the process.
        user, group: names or decimal numbers; None keeps ours. A user alone brings its primary group and its
            supplementary groups.
        rlimits: by name (see :data:`RLIMITS`), (soft, hard), -1 for no limit.
        nice: -20 to 19; None keeps ours.
        pidfile: where the daemon writes and locks its pid, or where we write it when ``write_pidfile`` is set.
        forks: the program ends with code 0 after forking its daemon, which then is the main process.
        volfile, volfile_server, volfile_id: facts for the service layer; not used to spawn.
        log_max_bytes: rotate the log beyond this size; 0 never rotates.
        log_keep: rotated pieces to keep.
        cgroup: directory of the cgroup v2 of this process, if it has one.
    """

    name: str = attrs.field(validator=_name)
    argv: tuple[str, ...] = attrs.field(converter=tuple, validator=_argv)
    logdir: Path = attrs.field(validator=_absolute)
    logfile: Path = attrs.field(validator=_absolute)
    cwd: Path = attrs.field(default=Path("/"), validator=_absolute)
    env: Mapping[str, str] = attrs.field(factory=dict, converter=_frozen_map, validator=_env)
    user: str | None = None
    group: str | None = None
    umask: int = attrs.field(default=0o022, validator=_within(0, 0o777))
    rlimits: Mapping[str, tuple[int, int]] = attrs.field(factory=dict, converter=_frozen_map, validator=_rlimits)
    nice: int | None = attrs.field(default=None, validator=_within(-20, 19))
    pidfile: Path | None = attrs.field(default=None, validator=_absolute)
    write_pidfile: bool = False
    forks: bool = False
    volfile: Path | None = attrs.field(default=None, validator=_absolute)
    volfile_server: str | None = None
    volfile_id: str | None = None
    stop: StopPlan = StopPlan()
    log_max_bytes: int = attrs.field(default=10 << 20, validator=_within(0, 1 << 50))
    log_keep: int = attrs.field(default=5, validator=_within(0, 1000))
    cgroup: Path | None = attrs.field(default=None, validator=_absolute)

    def __attrs_post_init__(self) -> None:
        if self.write_pidfile and (self.forks or self.pidfile is None):
            raise _refuse("write_pidfile", True, "needs a pidfile, and a program that forks has to write its own")

    @property
    def marker(self) -> Marker | None:
        """The marker in ``env``, when both variables are there."""
        service, root = self.env.get(MARK_SERVICE), self.env.get(MARK_ROOT)
        return Marker(service, root) if service and root else None
