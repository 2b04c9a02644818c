"""A daemon written with daemonkit, as a service."""

from __future__ import annotations

from svcmgr.errors import BadDefinition
from svcmgr.svc import Service, ServiceSpec


class DaemonService(Service):
    """A daemon that takes the standard flags and serves svcmgr's RPC (docs/daemons.md)."""

    kind = "daemon"

    @classmethod
    def check(cls, spec: ServiceSpec) -> None:
        """It needs a command too; the standard flags are appended to it. Raises BadDefinition."""
        super().check(spec)
        if not spec.command:
            raise BadDefinition(
                f"cannot define {spec.key}: kind daemon needs a command, to which the standard flags are appended",
                key="command",
            )
