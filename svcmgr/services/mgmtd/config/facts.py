"""What a configuration and a roll-out may know of a node."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Facts:
    """One node: its ``id`` (not 0), ``hostname``, ``type`` in lower case, and its tags; a tag may have the value ""."""

    id: int
    hostname: str
    type: str
    tags: Mapping[str, str] = attrs.field(factory=dict)
