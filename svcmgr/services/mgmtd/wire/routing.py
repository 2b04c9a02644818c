"""Routing information: all of it, or what changed. The verbs are listed in the door."""

from __future__ import annotations

import msgspec

from svcmgr.services.mgmtd.wire.chains import ChainInfo, TableInfo, TargetInfo
from svcmgr.services.mgmtd.wire.nodes import NodeInfo


class RoutingRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version``: what the caller has; 0: nothing yet."""

    version: int = 0
    cluster: str = ""


class Routing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything a client needs to find data. ``digest``: of all entities, to compare after deltas were applied."""

    version: int
    digest: str
    nodes: list[NodeInfo]
    chains: list[ChainInfo]
    tables: list[TableInfo]
    targets: list[TargetInfo]
    bootstrapping: bool = False


class RoutingReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``routing`` None: the caller has the newest."""

    routing: Routing | None = None


class WatchRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Changes with a version above ``version``; waits ``wait_s`` for the first. ``kinds``: nodes, chains, tables,
    targets; empty means all.
    """

    version: int
    kinds: list[str] = []
    wait_s: float = 30.0
    cluster: str = ""


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """From the version asked for to ``version``: what is new or different, and the ids of what is gone."""

    version: int
    digest: str
    nodes: list[NodeInfo] = []
    chains: list[ChainInfo] = []
    tables: list[TableInfo] = []
    targets: list[TargetInfo] = []
    gone: dict[str, list[int]] = {}


class WatchReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``resync``: the version asked for is older than what is remembered, or not of this cluster's history."""

    delta: Delta | None = None
    resync: bool = False
