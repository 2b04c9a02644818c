"""Nodes: who they are, and what an operator does with them. The verbs are listed in the door."""

from __future__ import annotations

import msgspec

from svcmgr.services.mgmtd.wire.common import AppInfo, Tag


class NodeInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    app: AppInfo
    type: str
    status: str
    last_heartbeat: float = 0.0
    tags: list[Tag] = []
    config_version: int = 0
    config_status: str = "NORMAL"


class PrimaryRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    cluster: str = ""


class PrimaryInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``node`` 0: nobody is. ``last`` is the last owner of an expired lease; ``addresses`` those of the primary."""

    node: int = 0
    addresses: list[str] = []
    last: int = 0


class NodeRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    node: int
    cluster: str = ""
    dry_run: bool = False


class RegisterNodeRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    node: int
    type: str
    cluster: str = ""
    dry_run: bool = False


class DisableNodeRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``now``: its targets are taken for dead at once instead of after the heartbeat's fail interval."""

    node: int
    now: bool = False
    cluster: str = ""
    dry_run: bool = False


class SetTagsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``mode``: REPLACE, UPSERT or REMOVE. ``step_down`` allows to disable the primary itself."""

    node: int
    tags: list[Tag]
    mode: str = "UPSERT"
    step_down: bool = False
    cluster: str = ""
    dry_run: bool = False


class NodesRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Empty fields select everything; ``zones`` as spec: names with commas or blanks between."""

    ids: list[int] = []
    types: list[str] = []
    statuses: list[str] = []
    zones: str = ""
    active: bool = False
    cluster: str = ""


class NodesReply(msgspec.Struct, frozen=True):
    nodes: list[NodeInfo]
