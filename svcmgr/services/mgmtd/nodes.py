"""A node: a process of the cluster under a number, what it said of itself, and what is thought of it.

Theory of operation. Three layers. *Facts* come from the process with each heartbeat. The *persistent* part is what must
outlive the primary: type, services, tags and host name; only a change of that is worth a write. The *status* is the
primary's opinion and is formed anew after each election, except that a node with the tag ``Disable`` is DISABLED.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.release import ReleaseVersion
from svcmgr.services.mgmtd.states import ConfigStatus, NodeStatus, NodeType
from svcmgr.services.mgmtd.tags import DISABLE, Tags, value_of

#: Longest text of any field, characters; a domain name takes at most 255 octets (RFC 1035, section 2.3.4).
TEXT_MAX = 255
GROUPS_MAX = 32
SERVICES_MAX = 64
ENDPOINTS_MAX = 64

_BAD = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")


def _check_text(text: str, what: str, least: int = 0) -> None:
    if not least <= len(text) <= TEXT_MAX or _BAD.search(text):
        raise BadInput(
            f"cannot use {text[:40]!r} as {what} of a node: give {least} to {TEXT_MAX} characters without blanks"
        )


def _text(_: object, field: attrs.Attribute[str], text: str) -> None:
    _check_text(text, field.name)


def _word(_: object, field: attrs.Attribute[str], text: str) -> None:
    _check_text(text, field.name, least=1)


def _frozen(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen
class Endpoint:
    """Where something listens: the transport, such as ``tcp``, and the address in its notation."""

    transport: str = attrs.field(validator=_word)
    address: str = attrs.field(validator=_word)


@attrs.frozen
class ServiceGroup:
    """Services that listen on the same endpoints."""

    services: frozenset[str] = attrs.field(converter=_frozen)
    endpoints: tuple[Endpoint, ...] = attrs.field(converter=tuple[Endpoint, ...])

    def __attrs_post_init__(self) -> None:
        if len(self.services) > SERVICES_MAX or len(self.endpoints) > ENDPOINTS_MAX:
            raise BadInput(
                f"cannot have {len(self.services)} services on {len(self.endpoints)} endpoints in one group: "
                f"the limits are {SERVICES_MAX} and {ENDPOINTS_MAX}"
            )
        for name in self.services:
            _check_text(name, "service", least=1)


def addresses(groups: Iterable[ServiceGroup], service: str, transport: str | None = None) -> tuple[str, ...]:
    """Where ``service`` listens, by this transport or by any."""
    return tuple(
        endpoint.address
        for group in groups
        if service in group.services
        for endpoint in group.endpoints
        if transport in (None, endpoint.transport)
    )


def _few(_: object, __: object, groups: tuple[ServiceGroup, ...]) -> None:
    if len(groups) > GROUPS_MAX:
        raise BadInput(f"cannot have a node with {len(groups)} service groups: the limit is {GROUPS_MAX}")


@attrs.frozen(kw_only=True)
class AppFacts:
    """What a process says of itself. ``incarnation`` is drawn anew whenever the process starts."""

    node_id: int = attrs.field(validator=ids.NODE_ID.validate)
    hostname: str = attrs.field(default="", validator=_text)
    pid: int = attrs.field(default=0, validator=ids.PID.validate)
    service_groups: tuple[ServiceGroup, ...] = attrs.field(
        default=(), converter=tuple[ServiceGroup, ...], validator=_few
    )
    release: ReleaseVersion | None = None
    podname: str = attrs.field(default="", validator=_text)
    incarnation: str = attrs.field(default="", validator=_text)


@attrs.frozen(kw_only=True)
class PersistentNode:
    """What the store holds of a node."""

    node_id: int = attrs.field(validator=ids.NODE_ID.validate)
    type: NodeType
    hostname: str = attrs.field(default="", validator=_text)
    service_groups: tuple[ServiceGroup, ...] = attrs.field(
        default=(), converter=tuple[ServiceGroup, ...], validator=_few
    )
    tags: Tags = ()


@attrs.frozen(kw_only=True)
class Node:
    """A node as clients see it. ``last_heartbeat`` in UTC seconds, 0 before the first one."""

    app: AppFacts
    type: NodeType = NodeType.MGMTD
    status: NodeStatus = NodeStatus.HEARTBEAT_CONNECTING
    last_heartbeat: float = 0.0
    tags: Tags = ()
    config_version: int = attrs.field(default=0, validator=ids.CONFIG_VERSION.validate)
    config_status: ConfigStatus = ConfigStatus.NORMAL

    @property
    def node_id(self) -> int:
        return self.app.node_id

    @property
    def active(self) -> bool:
        """Whether it is in use: the primary, or heard of in time."""
        return self.status in (NodeStatus.PRIMARY_MGMTD, NodeStatus.HEARTBEAT_CONNECTED)

    @property
    def persistent(self) -> PersistentNode:
        """What of it is worth a write."""
        app = self.app
        return PersistentNode(
            node_id=app.node_id,
            type=self.type,
            hostname=app.hostname,
            service_groups=app.service_groups,
            tags=self.tags,
        )


def restored(stored: PersistentNode) -> Node:
    """A node after an election: nothing is known of it but what was stored."""
    facts = AppFacts(node_id=stored.node_id, hostname=stored.hostname, service_groups=stored.service_groups)
    return Node(app=facts, type=stored.type, status=unheard(stored.tags), tags=stored.tags)


def unheard(tags: Tags) -> NodeStatus:
    """The status of a node that has not been heard of, from its tags."""
    disabled = value_of(tags, DISABLE) is not None
    return NodeStatus.DISABLED if disabled else NodeStatus.HEARTBEAT_CONNECTING
