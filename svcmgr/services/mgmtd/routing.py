"""What clients are told of the cluster: all of it, or what changed since a version."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.changes import Id, Kind
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.faces import WORDS

_KINDS = {word: kind for kind, word in WORDS.items()}


def kinds_of(words: Collection[str]) -> frozenset[Kind]:
    """Kinds by their words in the routing information; all of them where none is given. Raises BadInput."""
    if unknown := [word for word in words if word not in _KINDS]:
        raise BadInput(f"cannot watch {unknown[0][:40]!r}: known are {', '.join(_KINDS)}")
    return frozenset(_KINDS[word] for word in words) or frozenset(WORDS)


def full(cluster: Cluster, bootstrapping: bool) -> wire.Routing:
    """Everything, as faces: how full targets are, and when nodes were heard, is not in it."""
    pieces: Any = {WORDS[kind]: cluster.faces.all(kind) for kind in WORDS}
    return wire.Routing(cluster.version, cluster.faces.digest(), **pieces, bootstrapping=bootstrapping)


def delta(cluster: Cluster, version: int, kinds: Collection[Kind]) -> wire.Delta | None:
    """What is different since ``version``; None when that is not remembered."""
    seen = cluster.history.since(version)
    if seen is None:
        return None
    pieces: dict[str, list[Any]] = {}
    gone: dict[str, list[int]] = {}
    for kind, id in seen:
        if kind in kinds:
            face = cluster.faces.one(kind, id)
            if face is None:
                gone.setdefault(WORDS[kind], []).append(_gone(id))
            else:
                pieces.setdefault(WORDS[kind], []).append(face)
    return wire.Delta(cluster.version, cluster.faces.digest(), **pieces, gone=gone)


def empty(delta: wire.Delta) -> bool:
    """Whether it tells of nothing."""
    return not (delta.nodes or delta.chains or delta.tables or delta.targets or delta.gone)


def _gone(id: Id) -> int:
    assert isinstance(id, int), "a version of a chain table never goes"
    return id
