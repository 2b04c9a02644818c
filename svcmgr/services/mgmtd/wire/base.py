"""What all requests and answers have."""

from __future__ import annotations

from typing import Any

import msgspec

#: Characters of a cluster's id.
CLUSTER_ID_MAX = 64


def is_cluster_id(text: str) -> bool:
    """Whether ``text`` can name a cluster: 1 to CLUSTER_ID_MAX printable characters without blanks."""
    return 0 < len(text) <= CLUSTER_ID_MAX and text.isprintable() and " " not in text


class ClusterRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    cluster: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version``: the routing version when it was given. ``node``: who answered."""

    epoch: int
    version: int
    node: int
    result: Any
