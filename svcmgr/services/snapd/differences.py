"""A diff of two snapshots, or of a snapshot and the volume as it is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import attrs

from svcmgr.errors import BadInput, StorageFailed
from svcmgr.services.snapd.diff import Comparing, Findings
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.reserve import Brick, opened
from svcmgr.services.snapd.walk import descend, open_dir, parts_of
from svcmgr.services.snapd.wire import DiffReply, DiffRequest
from svcmgr.volume import Record

#: Most differences that one answer lists.
LIMIT_MAX = 100_000


@attrs.frozen
class Question:
    """``other`` None: the volume as it is. With several bricks ``names`` begin with ``brick-N``, if there are any."""

    old: Record
    other: Record | None
    names: tuple[str, ...]
    content: bool
    limit: int

    @classmethod
    def of(cls, request: DiffRequest, old: Record, other: Record | None) -> Question:
        """Raises BadInput: a path that leaves the volume, a limit out of 1 to LIMIT_MAX."""
        if not 1 <= request.limit <= LIMIT_MAX:
            raise BadInput(f"cannot list {request.limit} differences: the limit is 1 to {LIMIT_MAX}")
        names = parts_of(request.path)
        if len(old.bricks) > 1 and names and names[0] not in _brick_names(old):
            raise BadInput(
                f"cannot find {names[0]!r}: the volume has several bricks, paths begin with brick-1 to "
                f"brick-{len(old.bricks)}",
                path=request.path,
            )
        return cls(old, other, names, request.content, request.limit)


def _brick_names(record: Record) -> list[str]:
    return [f"brick-{number}" for number in range(1, len(record.bricks) + 1)]


def answer(question: Question, job: Job) -> DiffReply:
    """Walk and tell.

    Raises:
        BadInput: the path is in neither of the two.
        StorageFailed, NotPermitted: a brick cannot be used.
        GivenUp: the job was told to end.
    """
    findings = Findings(question.limit)
    comparing = Comparing(findings, job, content=question.content)
    several = len(question.old.bricks) > 1
    for path, label in zip(question.old.bricks, _brick_names(question.old), strict=True):
        names = question.names
        if several and names:
            if names[0] != label:
                continue
            names = names[1:]
        with opened(Path(path)) as brick, contextlib.ExitStack() as stack:
            old = _top(question.old, brick, stack)
            new = _top(question.other, brick, stack)
            _compare(comparing, findings, (old, new), names, f"{label}/" if several else "")
    return findings.reply()


def _top(record: Record | None, brick: Brick, stack: contextlib.ExitStack) -> int:
    if record is None:
        return brick.fd
    try:
        fd = open_dir(record.id, brick.snapshots)
    except OSError as error:
        raise StorageFailed(
            f"cannot read snapshot {record.name!r} in {brick}: {error.strerror} (errno {error.errno})"
        ) from error
    stack.callback(os.close, fd)
    return fd


def _compare(
    comparing: Comparing, findings: Findings, tops: tuple[int, int], names: tuple[str, ...], prefix: str
) -> None:
    if not names:
        comparing.directories(*tops, prefix, tops=True)
        return
    with contextlib.ExitStack() as stack:
        parents = tuple(_found(top, names[:-1], stack) for top in tops)
        name, path = names[-1], "/".join(names)
        old, new = (_status(parent, name) for parent in parents)
        if old is None and new is None:
            raise BadInput(f"cannot compare {path!r}: it is in neither of the two", path=path)
        if change := comparing.change(parents[0], parents[1], name, old, new):
            findings.add(change, prefix + path, old, new)
        inside = tuple(_found(parent, (name,), stack) if parent >= 0 else -1 for parent in parents)
        if inside != (-1, -1):
            comparing.directories(inside[0], inside[1], f"{prefix}{path}/", tops=False)


def _found(top: int, names: tuple[str, ...], stack: contextlib.ExitStack) -> int:
    try:
        fd = descend(top, names, "it")
    except BadInput:
        return -1
    stack.callback(os.close, fd)
    return fd


def _status(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False) if parent >= 0 else None
    except OSError:
        return None
