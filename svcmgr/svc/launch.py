"""From a service's answers to the frozen description of its next process.

The environment is rebuilt from the definition at every start, so a removed variable is gone at once. What belongs to
svcmgrd itself (its own notify socket, watchdog, listening sockets) is never handed down.
"""

from __future__ import annotations

import contextlib
import pwd
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from svcmgr.errors import BadInput, SpawnFailed
from svcmgr.fsutil import atomic_write, make_dir, read_limited
from svcmgr.paths import Layout
from svcmgr.proc import MARK_ROOT, MARK_SERVICE, ProcSpec, StopPlan
from svcmgr.proc.cgroup import service_path
from svcmgr.svc.spec import ServiceSpec

#: Variables of svcmgrd that describe its own life (sd_notify(3), sd_listen_fds(3)).
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
#: What a clean environment keeps.
_CLEAN = ("PATH", "LANG", "TZ")
#: Tells the processes of two lives of one service apart.
MARK_INCARNATION = "SVCMGR_INCARNATION"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What services inherit from svcmgrd's own environment."""
    kept = {k: v for k, v in environ.items() if k not in _OURS and not k.startswith("SVCMGR_")}
    kept.setdefault("PATH", _DEFAULT_PATH)
    return kept


def environment(
    spec: ServiceSpec, base: Mapping[str, str], marker: Mapping[str, str], extra: Mapping[str, str]
) -> dict[str, str]:
    """The complete environment of the next process; the definition wins over everything but the marker.

    Raises:
        SpawnFailed: ``user`` does not exist.
    """
    env = {k: base[k] for k in _CLEAN if k in base} if spec.env_clean else dict(base)
    if spec.user is not None:
        env.update(_identity_of(spec.user))
    env.update(extra)
    env.update(spec.env)
    env.update(marker)
    return env


def _identity_of(user: str) -> dict[str, str]:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if user.isdigit():  # a number without an account is legal; it has no home
            return {}
        raise SpawnFailed(f"cannot start as user {user!r}: no such user", user=user) from None
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}


def marker(key: str, layout: Layout, incarnation: int) -> dict[str, str]:
    """What every process of a service carries, so that it is recognised whatever becomes of its parents."""
    return {MARK_SERVICE: key, MARK_ROOT: str(layout.run), MARK_INCARNATION: str(incarnation)}


def standard_flags(
    key: str, layout: Layout, sock: Path | None, volfile_id: str | None, control: Path
) -> tuple[str, ...]:
    """The flags every daemon of the framework takes (docs/daemons.md)."""
    flags = ["-p", str(layout.service_pidfile(key)), "-l", str(layout.service_log(key))]
    if sock is not None:
        flags += ["-S", str(sock)]
    if volfile_id is not None:
        flags += ["-s", str(control), "--volfile-id", volfile_id]
    return tuple(flags)


def write_volfile(path: Path, text: str | None) -> Path | None:
    """Store the volfile if it has one and it changed. Raises StorageFailed; the old content is then in force."""
    if text is None:
        return None
    data = text.encode()
    with contextlib.suppress(OSError, BadInput):  # not there, or not a file like ours: the write tells what is wrong
        if read_limited(path, len(data)) == data:
            return path
    make_dir(path.parent)
    atomic_write(path, data)
    return path


@attrs.frozen
class Place:
    """Where the files of a process are. ``forks``: the pidfile that a daemon writes which forks away."""

    layout: Layout
    cgroups: Path | None
    volfile: Path | None
    forks: Path | None


def process_spec(
    spec: ServiceSpec, place: Place, argv: tuple[str, ...], env: Mapping[str, str], *, speaks: bool
) -> ProcSpec:
    """The frozen description that the process object spawns.

    A daemon that speaks writes and locks its pidfile itself; so does one that forks, where its definition says.
    """
    return ProcSpec(
        **_common(spec, place.layout, argv, env),
        pidfile=place.forks or place.layout.service_pidfile(spec.key),
        write_pidfile=not speaks and place.forks is None,
        forks=place.forks is not None,
        volfile=place.volfile,
        cgroup=service_path(place.cgroups, spec.key) if place.cgroups is not None and spec.cgroup else None,
        stop=StopPlan(signal=signal.Signals[spec.stop_signal], grace_s=spec.stop_grace),
        log_max_bytes=spec.log_max_bytes,
        log_keep=spec.log_keep,
    )


def probe_spec(spec: ServiceSpec, layout: Layout, argv: tuple[str, ...], env: Mapping[str, str]) -> ProcSpec:
    """A readiness command of this service."""
    return ProcSpec(**_common(spec, layout, argv, env), stop=StopPlan(grace_s=0.5))


def _common(spec: ServiceSpec, layout: Layout, argv: tuple[str, ...], env: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": spec.key,
        "argv": argv,
        "cwd": Path(spec.cwd),
        "env": env,
        "user": spec.user,
        "group": spec.group,
        "umask": spec.umask,
        "nice": spec.nice,
        "rlimits": spec.rlimits,
        "logdir": layout.log,
        "logfile": layout.service_log(spec.key),
    }
