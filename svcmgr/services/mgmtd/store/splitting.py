"""Cut many writes into batches that a store takes.

Theory of operation. What does not fit into one batch cannot be atomic, so the caller puts what makes it *visible* (the
raised routing version) into ``last``, and that is written with the last batch. Whoever reads a version then finds all
that belongs to it; after a crash on the way, writes of the next version are there early, each of them whole. Every
batch carries the same ``checks``, mostly "the lease is still mine", so a deposed primary is stopped between two.
Writes stay in their order. What fits into one batch stays one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.store.protocol import Batch, Check, Limits, Write, weight


def split(writes: Sequence[Write], checks: Sequence[Check], last: Sequence[Write], limits: Limits) -> list[Batch]:
    """Batches that carry out ``writes`` in order, ``last`` together in the last of them.

    Raises:
        BadInput: ``last`` with the checks, or a single write with them, is over the limits.
    """
    fixed = sum(map(weight, checks))
    tail = fixed + sum(map(weight, last))
    if max(len(checks), len(last)) > limits.operations or tail > limits.size:
        raise BadInput(
            f"cannot split: {len(checks)} checks and {len(last)} writes of {tail} bytes must stay together, "
            f"and the store takes {limits.operations} and {limits.size} bytes"
        )
    parts = list(_parts(writes, Limits(limits.operations, limits.size - fixed)))
    # The last part takes ``last`` in if it has room; otherwise ``last`` is a batch of its own.
    if parts and _fits([*parts[-1], *last], Limits(limits.operations, limits.size - fixed)):
        parts[-1] += last
    elif last or not parts:
        parts.append(list(last))
    return [Batch(tuple(part), tuple(checks)) for part in parts]


def _parts(writes: Sequence[Write], room: Limits) -> Iterator[list[Write]]:
    part: list[Write] = []
    size = 0
    for write in writes:
        more = weight(write)
        if more > room.size:
            raise BadInput(f"cannot split: one write has {more} bytes, and a batch has room for {room.size}")
        if part and (len(part) == room.operations or size + more > room.size):
            yield part
            part, size = [], 0
        part.append(write)
        size += more
    if part:
        yield part


def _fits(part: Sequence[Write], room: Limits) -> bool:
    return len(part) <= room.operations and sum(map(weight, part)) <= room.size
