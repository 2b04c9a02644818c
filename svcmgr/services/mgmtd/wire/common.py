"""What several parts of the wire of mgmtd speak of. The verbs are listed in the door."""

from __future__ import annotations

from typing import Any

import msgspec


class ClusterRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    cluster: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version``: the routing version when it was given. ``node``: who answered."""

    epoch: int
    version: int
    node: int
    result: Any


class Tag(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str
    value: str = ""


class EndpointInfo(msgspec.Struct, frozen=True):
    transport: str
    address: str


class ServiceGroupInfo(msgspec.Struct, frozen=True):
    services: list[str]
    endpoints: list[EndpointInfo]


class AppInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process says of itself. ``incarnation`` is drawn anew at each of its starts."""

    node: int
    incarnation: str = ""
    hostname: str = ""
    pid: int = 0
    services: list[ServiceGroupInfo] = []
    release: str = ""
    podname: str = ""
