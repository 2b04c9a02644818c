"""What nodes themselves send. The verbs are listed in the door."""

from __future__ import annotations

import msgspec

from svcmgr.services.mgmtd.wire.common import AppInfo
from svcmgr.services.mgmtd.wire.configs import ConfigInfo


class LocalTargetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target as its node sees it. ``chain_version``: what the node last saw, 0 when it does not know."""

    target: int
    state: str
    chain_version: int = 0
    disk: int | None = None
    used: int = 0
    low_space: bool = False


class HeartbeatRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version`` grows with each heartbeat of one process. ``targets`` for STORAGE nodes only."""

    app: AppInfo
    type: str
    version: int
    timestamp: float
    config_version: int = 0
    config_status: str = "NORMAL"
    targets: list[LocalTargetInfo] = []
    cluster: str = ""


class HeartbeatReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``config``: newer than the node's, if there is one for it. ``interval_s``: when to send the next."""

    config: ConfigInfo | None = None
    interval_s: float = 10.0


class LeaveRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    app: AppInfo
    cluster: str = ""
