"""What a roll-out is, as it is stored, so that a new primary goes on with it.

Theory of operation. Only what cannot be learned again is stored: the plan, the phase, the stage with its bound, which
failures an operator has forgiven, and how it ended. Who runs with what comes from the nodes' own reports. Times are not
stored, since no clock outlives its host: a new primary waits and soaks from the beginning of the stage.
"""

from __future__ import annotations

import math

import attrs
import msgspec

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.history import History
from svcmgr.services.mgmtd.config.rollmachine import Phase
from svcmgr.services.mgmtd.config.stages import NO_BOUND, TOP_BOUND, Stage, check_stages
from svcmgr.services.mgmtd.config.version import VERSION_MAX

#: The one format of stored roll-outs so far.
FORMAT = 1
#: A roll-out with a hundred thousand forgiven failures takes half of it, bytes.
STORED_MAX = 2 * 1024 * 1024
REASON_MAX = 1_000
SPAN_MAX_S = 366 * 86400.0

_ID_MAX = 100


@attrs.frozen
class Pace:
    """How fast: ``soak_s`` seconds without failure after a stage has settled, ``settle_s`` for it to settle.

    It halts when ``halt_at`` nodes have FAILED.
    """

    soak_s: float = 600.0
    settle_s: float = 600.0
    halt_at: int = 1

    def __attrs_post_init__(self) -> None:
        for what, span in (("soak", self.soak_s), ("settle", self.settle_s)):
            if not (math.isfinite(span) and 0 <= span <= SPAN_MAX_S):
                raise BadInput(f"cannot {what} for {span} s: give 0 to {SPAN_MAX_S:.0f} seconds")
        if self.halt_at < 1:
            raise BadInput(f"cannot halt at {self.halt_at} failures: give 1 or more")


@attrs.frozen
class Plan:
    """Bring the nodes of a type from one version to a later one, stage by stage. Raises BadInput."""

    id: str
    node_type: str
    from_version: int
    to_version: int
    stages: tuple[Stage, ...]
    pace: Pace = Pace()

    def __attrs_post_init__(self) -> None:
        if not (0 < len(self.id) <= _ID_MAX and self.id.isprintable()):
            raise BadInput(
                f"cannot use {self.id[:40]!r} as id of a roll-out: give up to {_ID_MAX} printable characters"
            )
        if not 0 <= self.from_version < self.to_version <= VERSION_MAX:
            raise BadInput(f"cannot roll out version {self.to_version} after {self.from_version}: it must be newer")
        if check_stages(self.stages) != self.stages:
            raise BadInput(f"cannot roll out to {', '.join(map(str, self.stages))}: the last stage must be 100%")

    def check(self, history: History) -> None:
        """Pass if both versions are stored and the new one is the newest.

        Raises:
            InvalidConfigVersion: one is not stored.
            BadInput: another node type, or there is a newer version.
        """
        history.need(self.from_version)
        history.need(self.to_version)
        newest = history.newest.version
        if history.node_type != self.node_type or newest != self.to_version:
            raise BadInput(
                f"cannot roll out version {self.to_version} of {self.node_type}: the newest of {history.node_type} "
                f"is {newest}; roll out that one"
            )


@attrs.frozen
class State:
    """All that is stored of a roll-out.

    ``stage``: index of the stage, -1 before the first. ``bound``: nodes up to that rank belong to it. ``failed``: nodes
    that FAILED in it; ``forgiven``: those that do not count. ``reason``: why it halted or ended. ``final``: the version
    with the old content, once it was aborted.
    """

    plan: Plan
    phase: Phase = Phase.RUNNING
    stage: int = -1
    bound: int = NO_BOUND
    failed: tuple[int, ...] = ()
    forgiven: tuple[int, ...] = ()
    reason: str = ""
    final: int | None = None

    def __attrs_post_init__(self) -> None:
        stages, aborted = len(self.plan.stages), self.phase is Phase.ABORTED
        if not (-1 <= self.stage < stages and NO_BOUND <= self.bound <= TOP_BOUND):
            raise BadInput(f"cannot use the state of roll-out {self.plan.id}: no stage {self.stage} of {stages}")
        if (self.final is not None) != aborted or not self.plan.to_version < (self.final or VERSION_MAX + 1):
            raise BadInput(f"cannot use the state of roll-out {self.plan.id}: {self.phase.value} with {self.final}")

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.phase not in (Phase.ABORTED, Phase.FINISHED)

    @property
    def versions(self) -> frozenset[int]:
        """What must not be pruned."""
        return frozenset({self.plan.from_version, self.plan.to_version, self.final or self.plan.to_version})


class _Stored(msgspec.Struct, frozen=True):
    format: int
    rollout: State


class _Format(msgspec.Struct, frozen=True):
    format: int


def encode(state: State) -> bytes:
    """The state as it is stored, in JSON."""
    return msgspec.json.encode(_Stored(FORMAT, state))


def decode(data: bytes) -> State:
    """The state that was stored. Raises BadInput: too large, another format, or not what :func:`encode` makes."""
    if len(data) > STORED_MAX:
        raise BadInput(f"cannot read a roll-out of {len(data)} bytes: the limit is {STORED_MAX}")
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found != FORMAT:
            raise BadInput(f"cannot read a roll-out of format {found}: this version knows format {FORMAT}; upgrade it")
        return msgspec.json.decode(data, type=_Stored).rollout
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"cannot read a roll-out: {str(error)[:200]}; it was damaged, or never one") from error
