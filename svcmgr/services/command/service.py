"""Any program as a service."""

from __future__ import annotations

from svcmgr.errors import BadDefinition
from svcmgr.svc import Service, ServiceSpec


class CommandService(Service):
    """Any program at all: what to run and how is in the definition."""

    kind = "command"
    readiness = "up:0.2"
    speaks = False

    @classmethod
    def check(cls, spec: ServiceSpec) -> None:
        """A command needs a command. Raises BadDefinition."""
        super().check(spec)
        if not spec.command:
            raise BadDefinition(
                f'cannot define {spec.key}: kind command needs a command, for example command = ["/bin/sleep", "60"]',
                key="command",
            )
