"""Records and facts as clients get them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from svcmgr.errors import SvcmgrError
from svcmgr.services.snapd import wire
from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.methods import best_for
from svcmgr.services.snapd.reserve import opened
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.space import Space, fullest
from svcmgr.volume import Record

if TYPE_CHECKING:
    from svcmgr.services.snapd.operations import Operations


@attrs.frozen
class SpaceFacts:
    """What was seen of each brick the last time. ``problems``: bricks that cannot be used, and why."""

    spaces: Mapping[str, Space] = attrs.field(factory=dict)
    methods: Mapping[str, str] = attrs.field(factory=dict)
    problems: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def fullest(self) -> Space:
        return fullest(self.spaces.values())


def look_at_space(bricks: Sequence[Path], before: SpaceFacts) -> SpaceFacts:
    """Look at every brick. It may wait for a slow disk, so it belongs in a thread.

    What a brick could do is tried once, as that writes to it, and again after the brick could not be used.
    """
    spaces: dict[str, Space] = {}
    methods: dict[str, str] = {}
    problems: dict[str, str] = {}
    for path in bricks:
        try:
            with opened(path) as brick:
                spaces[str(path)] = Space.of(brick.fd)
                methods[str(path)] = before.methods.get(str(path)) or best_for(brick)
        except SvcmgrError as error:
            problems[str(path)] = error.message
    return SpaceFacts(spaces, methods, problems)


def snapshot(record: Record) -> wire.Snapshot:
    cost = record.cost
    return wire.Snapshot(
        name=record.name,
        id=record.id,
        created=record.created,
        method=record.method,
        consistency=record.consistency,
        activated=record.activated,
        origin=record.origin,
        description=record.description,
        cost=wire.Cost(cost.seconds, cost.files, cost.copied_bytes, cost.shared_bytes),
    )


def exposed(record: Record) -> Exposed:
    """For the view and the reader."""
    return Exposed(record.name, record.id, record.created, tuple(map(Path, record.paths())))


def listing(records: Iterable[Record], settings: Settings, space: SpaceFacts) -> wire.SnapshotsReply:
    return wire.SnapshotsReply(
        snapshots=[snapshot(record) for record in records],
        volume=settings.volume,
        limit=settings.max_count,
        free_bytes=space.fullest.free,
        total_bytes=space.fullest.total,
    )


def info(record: Record, settings: Settings, view: str | None) -> wire.SnapshotInfo:
    """``view``: where it can be seen, if it can."""
    return wire.SnapshotInfo(
        snapshot=snapshot(record),
        volume=settings.volume,
        volume_id=record.volume_id,
        bricks=list(record.bricks),
        paths=list(record.paths()),
        volume_options=dict(record.volume_options),
        skipped=list(record.skipped),
        view=view,
    )


def statistics(operations: Operations, space: SpaceFacts) -> Mapping[str, Any]:
    catalogue, counts = operations.catalogue, operations.leftovers.counts
    return {
        "snapshots": len(catalogue.records),
        "activated": sum(record.activated for record in catalogue.records),
        "limit": operations.settings.max_count,
        "operations": operations.counts,
        "last_error": operations.last_error,
        "methods": space.methods,
        "free_bytes": {path: facts.free for path, facts in space.spaces.items()},
        "total_bytes": {path: facts.total for path, facts in space.spaces.items()},
        "brick_problems": space.problems,
        "leftovers": {
            "collected": counts.collected,
            "failed": counts.failed,
            "waiting": len(catalogue.doomed),
            "last_error": counts.last_error,
            "unknown": counts.unknown,
        },
        "quarantined": catalogue.quarantined,
    }
