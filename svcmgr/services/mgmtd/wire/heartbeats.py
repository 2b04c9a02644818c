"""What nodes tell."""

from __future__ import annotations

import msgspec

from svcmgr.services.mgmtd.wire.configs import ConfigInfo
from svcmgr.services.mgmtd.wire.nodes import AppInfo


class LocalTargetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target as its node sees it. ``chain_version``: what the node last saw, 0 when it does not know."""

    target: int
    state: str
    chain_version: int = 0
    disk: int | None = None
    used: int = 0
    low_space: bool = False


class HeartbeatRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version`` grows with each heartbeat of one process. ``targets`` for STORAGE nodes only.

    ``replaces``: the incarnation of the process that this one took over from, if it knows; it is then taken at once
    for its successor, and not for a second process of the same id.
    """

    app: AppInfo
    type: str
    version: int
    timestamp: float
    config_version: int = 0
    config_status: str = "NORMAL"
    targets: list[LocalTargetInfo] = []
    replaces: str = ""
    cluster: str = ""


class HeartbeatReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``config``: newer than the node's, if there is one for it. ``interval_s``: when to send the next."""

    config: ConfigInfo | None = None
    interval_s: float = 10.0


class LeaveRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    app: AppInfo
    cluster: str = ""
