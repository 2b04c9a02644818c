"""Services as rows of ``status``, encoded once per change, and as the long answer of ``show``."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from svcmgr.host import wire
from svcmgr.proc.cgroup import service_path
from svcmgr.svc import Service, Supervisor

#: Variables whose values only an admin may see.
_SECRET = ("*PASS*", "*SECRET*", "*TOKEN*", "*KEY*", "*CREDENTIAL*")


class RowCache:
    """Encoded rows by service; a status of everything costs one look at each version number."""

    def __init__(self, services: Mapping[str, Service], enabled: Callable[[Service], bool]) -> None:
        self._services = services
        self._enabled = enabled
        self._rows: dict[tuple[str, bool], tuple[Service, int, msgspec.Raw]] = {}
        self._encode = msgspec.msgpack.Encoder().encode

    def rows(self, names: Iterable[str], *, paths: bool) -> list[Any]:
        """Rows for ``names`` in that order; names without a service are left out."""
        if len(self._rows) > 2 * len(self._services):  # two for each at most: some are of removed services
            self._rows = {k: kept for k, kept in self._rows.items() if self._services.get(k[0]) is kept[0]}
        return [raw for n in names if (raw := self._row((n, paths))) is not None]

    def _row(self, key: tuple[str, bool]) -> msgspec.Raw | None:
        service = self._services.get(key[0])
        if service is None:
            self._rows.pop(key, None)
            return None
        kept = self._rows.get(key)
        if kept is not None and kept[0] is service and kept[1] == service.version:
            return kept[2]
        raw = msgspec.Raw(self._encode(row(service, enabled=self._enabled(service), paths=key[1])))
        self._rows[key] = (service, service.version, raw)
        return raw


def row(service: Service, *, enabled: bool, paths: bool) -> wire.ServiceRow:
    """One service as people see it."""
    identity = service.identity if service.alive else None
    layout = service.seams.layout
    return wire.ServiceRow(
        name=service.key,
        kind=service.kind or service.spec.kind,
        goal=service.goal.value,
        state=service.state.value,
        status=service.status.value,
        since=service.since,
        instance=service.spec.instance,
        enabled=enabled,
        pid=identity.pid if identity is not None else None,
        started=service.started if identity is not None else None,
        restarts=service.restarts,
        reason=service.reason,
        last_exit=last_exit(service),
        socket=str(service.socket) if paths and service.socket is not None else None,
        pidfile=str(layout.service_pidfile(service.key)) if paths else None,
        log=str(layout.service_log(service.key)) if paths else None,
    )


def last_exit(service: Service) -> wire.Exit | None:
    """The last end of its process, or None."""
    last = service.last_exit
    if last is None:
        return None
    status = last.status
    return wire.Exit(last.at, status.code, status.signal_name, status.core, round(last.uptime_s, 3), last.log_tail)


def show(service: Service, supervisor: Supervisor, *, enabled: bool, secrets: bool) -> dict[str, Any]:
    """Definition and every derived fact of one service. Secret-looking variables are masked unless ``secrets``."""
    spec = service.spec
    identity = service.identity if service.alive else None
    facts = _every_key(row(service, enabled=enabled, paths=True))
    readable = service.seams.layout.service_socket(service.key)
    return {
        **facts,
        "description": spec.description,
        "definition": str(spec.source) if spec.source is not None else None,
        "command": list(service.argv()),
        "cwd": spec.cwd,
        "env": {k: v if secrets or not _secret(k) else "***" for k, v in spec.env.items()},
        "user": spec.user,
        "group": spec.group,
        "umask": f"{spec.umask:03o}",
        "nice": spec.nice,
        "rlimits": {k: list(v) for k, v in spec.rlimits.items()},
        "restart": spec.restart.value,
        "restart_delay": spec.backoff.delay,
        "restart_delay_max": spec.backoff.delay_max,
        "restart_intensity": spec.backoff.intensity,
        "restart_period": spec.backoff.period,
        "ready": str(service.ready()),
        "start_timeout": spec.start_timeout,
        "stop_signal": spec.stop_signal,
        "stop_grace": spec.stop_grace,
        "reload_signal": spec.reload_signal,
        "watchdog": spec.watchdog,
        "hang_timeout": spec.hang_timeout,
        "log_max_bytes": spec.log_max_bytes,
        "log_keep": spec.log_keep,
        "cgroup": str(cgroup) if (cgroup := _cgroup(service)) is not None else None,
        "requires": list(spec.links.requires),
        "after": list(spec.links.after),
        "required_by": [k for k in supervisor.graph.with_dependents([service.key]) if k != service.key],
        "socket_link": str(readable) if service.socket is not None and service.socket != readable else None,
        "incarnation": service.incarnation,
        "start_ticks": identity.start_ticks if identity is not None else None,
        "boot_id": identity.boot_id if identity is not None else None,
        "digest": spec.digest,
        "running_digest": service.running_digest or None,
        "usage": service.usage(),
        "options": dict(spec.options),
    }


def _cgroup(service: Service) -> Path | None:
    base = service.seams.cgroups
    return service_path(base, service.key) if base is not None and service.spec.cgroup else None


def _every_key(shown: wire.ServiceRow) -> dict[str, Any]:
    """As a mapping in which also what is not known has its key."""
    last = msgspec.structs.asdict(shown.last_exit) if shown.last_exit is not None else None
    return {**msgspec.structs.asdict(shown), "last_exit": last}


def _secret(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name.upper(), pattern) for pattern in _SECRET)
