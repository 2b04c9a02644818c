"""Client sessions, and tags of client hosts. The verbs are listed in the door."""

from __future__ import annotations

import msgspec

from svcmgr.services.mgmtd.wire.common import ServiceGroupInfo, Tag
from svcmgr.services.mgmtd.wire.configs import ConfigInfo


class SessionRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version`` grows with each call of one client. ``type``: CLIENT or FUSE. ``start``: of the client's process."""

    client: str
    version: int
    type: str = "CLIENT"
    universal_id: str = ""
    description: str = ""
    services: list[ServiceGroupInfo] = []
    release: str = ""
    start: float = 0.0
    config_version: int = 0
    config_status: str = "NORMAL"
    cluster: str = ""


class SessionReply(msgspec.Struct, frozen=True, omit_defaults=True):
    config: ConfigInfo | None = None
    tags: list[Tag] = []


class CloseSessionRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    client: str
    cluster: str = ""


class SessionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    client: str
    type: str
    universal_id: str
    start: float
    session_start: float
    last_extend: float
    description: str = ""
    release: str = ""
    config_version: int = 0
    config_status: str = "NORMAL"
    tags: list[Tag] = []


class SessionsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    client: str = ""
    cluster: str = ""


class SessionsReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``bootstrapping``: this primary is new; a session that is not here may still come back."""

    sessions: list[SessionInfo]
    bootstrapping: bool = False


class HostTagsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    universal_id: str
    cluster: str = ""


class SetHostTagsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    universal_id: str
    tags: list[Tag]
    mode: str = "UPSERT"
    cluster: str = ""
    dry_run: bool = False


class HostTags(msgspec.Struct, frozen=True):
    universal_id: str
    tags: list[Tag]
