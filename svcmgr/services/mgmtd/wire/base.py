"""What all requests and answers have."""

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
