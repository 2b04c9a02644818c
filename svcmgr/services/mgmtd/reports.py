"""What a node's report says about targets.

Theory of operation. A report that was made before the node knew of the chain's latest change says nothing about its
place after that change, so it is ignored whole: it does not even count as having been heard. A node that does not know
the version (0) is believed, which is how "I am offline" always gets through. A target that is not reported is not
touched, and so falls silent by itself, whatever its node does. One that is in no chain is an orphan.

Rules: deepseek-ai/3FS: src/mgmtd/service/RoutingInfo.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from svcmgr.services.mgmtd.states import LocalState
from svcmgr.services.mgmtd.targets import LocalTarget, TargetInfo


@attrs.frozen
class Orphan:
    """A target that a node has and no chain wants."""

    node_id: int
    report: LocalTarget


@attrs.frozen
class Reported:
    """What a report changes.

    ``heard``: the ids of targets that were heard. ``changed``: those of which something is new. ``important``: the ids
    of those whose local state or node is new, for which the routing version is raised. ``orphans``: replace all earlier
    ones of this node.
    """

    heard: tuple[int, ...]
    changed: tuple[TargetInfo, ...]
    important: tuple[int, ...]
    orphans: tuple[Orphan, ...]


@attrs.frozen
class Known:
    """The targets of chains, and the version of a chain by its id."""

    targets: Mapping[int, TargetInfo]
    chain_version: Callable[[int], int]


def apply_report(node_id: int, reports: Iterable[LocalTarget], known: Known, *, ignore_stale: bool = True) -> Reported:
    """What this node's report changes."""
    heard, changed, important, orphans = [], [], [], []
    for report in reports:
        before = known.targets.get(report.target_id)
        if before is None:
            orphans.append(Orphan(node_id, report))
            continue
        if ignore_stale and 0 < report.chain_version < known.chain_version(before.chain_id):
            continue
        heard.append(report.target_id)
        if not _says(before, report, node_id):
            changed.append(_taken(before, report, node_id))
            if report.local is not before.local or node_id != before.node_id:
                important.append(report.target_id)
    return Reported(tuple(heard), tuple(changed), tuple(important), tuple(orphans))


def _says(before: TargetInfo, report: LocalTarget, node_id: int) -> bool:
    """Whether nothing is new; compared field by field, since nearly every report of every second says nothing new."""
    return (
        report.local is before.local
        and node_id == before.node_id
        and report.used_bytes == before.used_bytes
        and report.disk_index == before.disk_index
        and report.low_space == before.low_space
    )


def _taken(before: TargetInfo, report: LocalTarget, node_id: int) -> TargetInfo:
    return attrs.evolve(
        before,
        local=report.local,
        node_id=node_id,
        disk_index=report.disk_index,
        used_bytes=report.used_bytes,
        low_space=report.low_space,
    )


def offline(target: TargetInfo) -> TargetInfo:
    """The target when its node left, or was silent for too long."""
    return attrs.evolve(target, local=LocalState.OFFLINE)


def silent_targets(
    targets: Iterable[TargetInfo], heard: Mapping[int, float], fail_s: float, now: float
) -> tuple[TargetInfo, ...]:
    """The targets that were not heard for more than ``fail_s`` and are not OFFLINE yet, as OFFLINE.

    ``heard`` and ``now`` are monotonic seconds; a target that is not in ``heard`` never was.
    """
    return tuple(
        offline(target)
        for target in targets
        if target.local is not LocalState.OFFLINE and now - heard.get(target.target_id, float("-inf")) > fail_s
    )
