"""mgmtd as a service: the management daemon of a cluster, with its store on this host."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from svcmgr.errors import BadDefinition
from svcmgr.services.mgmtd.wire.base import CLUSTER_ID_MAX, is_cluster_id
from svcmgr.svc import Restart, Service, ServiceSpec

#: Node ids are 32 bits wide; 0 is none.
_NODE_MAX = 2**32 - 1


class MgmtdService(Service):
    """Options: ``cluster`` (its id, "default"), ``node`` (this mgmtd's node id, 1), ``store`` (path of the file)."""

    kind = "mgmtd"
    restart = Restart.ALWAYS
    stop_grace = 15.0
    frame_timeout = 30.0

    @classmethod
    def check(cls, spec: ServiceSpec) -> None:
        """It has its own program, and three options. Raises BadDefinition."""
        super().check(_without_options(spec))
        if spec.command:
            raise BadDefinition(f"cannot define {spec.key}: kind mgmtd has its own program", key="command")
        for name, value in spec.options.items():
            check = _CHECKS.get(name)
            if check is None:
                known = ", ".join(sorted(_CHECKS))
                raise BadDefinition(
                    f"cannot define {spec.key}: kind mgmtd has no option {name}; known are {known}", key="options"
                )
            if reason := check(value):
                raise BadDefinition(
                    f"cannot define {spec.key}: option {name} is {str(value)[:40]!r}; {reason}", key="options"
                )

    def argv(self) -> Sequence[str]:
        """The daemon side, without the current directory on the module path."""
        options: Mapping[str, Any] = self.spec.options
        store = options.get("store") or str(self._store)
        return (
            *(sys.executable, "-P", "-m", "svcmgr.services", "svcmgr.services.mgmtd.daemon:Mgmtdd"),
            *("--cluster", str(options.get("cluster", "default"))),
            *("--node", str(options.get("node", 1))),
            *("--store", str(store)),
        )

    @property
    def _store(self) -> Path:
        return self.seams.layout.state / "mgmtd" / f"{self.spec.instance or 'mgmtd'}.db"


def _without_options(spec: ServiceSpec) -> ServiceSpec:
    """What the base checks; it knows no kind's options."""
    return attrs.evolve(spec, options={}) if spec.options else spec


def _cluster(value: Any) -> str:
    fine = isinstance(value, str) and is_cluster_id(value)
    return "" if fine else f"give 1 to {CLUSTER_ID_MAX} printable characters without blanks"


def _node(value: Any) -> str:
    return "" if type(value) is int and 0 < value <= _NODE_MAX else f"give a number from 1 to {_NODE_MAX}"


def _path(value: Any) -> str:
    fine = isinstance(value, str) and value.startswith("/") and value.isprintable()
    return "" if fine else "give an absolute path"


_CHECKS = {"cluster": _cluster, "node": _node, "store": _path}
