"""What a mgmtd refuses, in the words of its field.

``code`` goes over the wire. ``number`` is the status code of the same refusal in deepseek-ai/3FS
(src/common/utils/StatusCodeDetails.h), for those who know it by that. Its InvalidArg is BadInput here.
"""

from __future__ import annotations

from typing import ClassVar

from svcmgr.errors import AlreadyExists, BadInput, SvcmgrError


class NotPrimary(SvcmgrError):
    """This mgmtd is not the primary now; ``details['primary']`` is the node id of the one it knows, or None."""

    code = "not-primary"
    number: ClassVar[int] = 5000


class NodeNotFound(BadInput):
    code = "node-not-found"
    number: ClassVar[int] = 5001


class HeartbeatFail(SvcmgrError):
    """A heartbeat is refused as a whole; nothing of it was applied."""

    code = "heartbeat-fail"
    number: ClassVar[int] = 5002


class ClusterIdMismatch(BadInput):
    """The request is meant for another cluster."""

    code = "cluster-id-mismatch"
    number: ClassVar[int] = 5003


class RegisterFail(AlreadyExists):
    """The node id is taken, or no id at all."""

    code = "register-fail"
    number: ClassVar[int] = 5004


class InvalidRoutingInfoVersion(BadInput):
    """A routing version above the newest, of a copy of another history; ``details['newest']`` is the newest."""

    code = "invalid-routing-info-version"
    number: ClassVar[int] = 5005


class InvalidConfigVersion(BadInput):
    """A config version above the newest one; ``details['newest']`` is that."""

    code = "invalid-config-version"
    number: ClassVar[int] = 5006


class InvalidChainTable(BadInput):
    """Chains or a chain table that would contradict themselves or what is there."""

    code = "invalid-chain-table"
    number: ClassVar[int] = 5007


class HeartbeatVersionStale(HeartbeatFail):
    """A heartbeat that is not newer than the last one; ``details['version']`` is that of the last one."""

    code = "heartbeat-version-stale"
    number: ClassVar[int] = 5009


class ClientSessionVersionStale(SvcmgrError):
    """A call of a client that is not newer than its last one; ``details['version']`` is that of the last one."""

    code = "client-session-version-stale"
    number: ClassVar[int] = 5010


class InvalidTag(BadInput):
    code = "invalid-tag"
    number: ClassVar[int] = 5011


class ChainNotFound(BadInput):
    code = "chain-not-found"
    number: ClassVar[int] = 5012


class ExtendClientSessionMismatch(SvcmgrError):
    """A client says something else of itself than when its session began; ``details['field']`` is what."""

    code = "extend-client-session-mismatch"
    number: ClassVar[int] = 5014


class ClientSessionNotFound(BadInput):
    code = "client-session-not-found"
    number: ClassVar[int] = 5015


class TargetNotFound(BadInput):
    code = "target-not-found"
    number: ClassVar[int] = 5017


class TargetExisted(AlreadyExists):
    """The target is in a chain already; ``details['chain']`` is its id."""

    code = "target-existed"
    number: ClassVar[int] = 5018
