"""A chain as a value: its targets, head first, and a version that every change of them raises.

Theory of operation. Storage nodes refuse a write that carries another version of the chain than theirs, so the version
is the fence between two arrangements of the same targets. It is raised by exactly one whenever the order or a public
state differs, whoever caused it. What nodes report does not raise it, nor does the preferred order: neither says where
a write goes.
"""

from __future__ import annotations

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.states import PublicState
from svcmgr.services.mgmtd.targets import ChainTarget

Targets = tuple[ChainTarget, ...]

#: Longest chain; far above any use, so that one record stays small.
TARGETS_MAX = 64


@attrs.frozen
class Chain:
    """A chain of replicas. ``preferred`` names all or some of its targets, in the order an operator wishes.

    Raises:
        BadInput: an id or version out of range, no target, too many, one twice, or a preferred one that is not in it.
    """

    chain_id: int = attrs.field(validator=ids.CHAIN_ID.validate)
    version: int = attrs.field(validator=ids.CHAIN_VERSION.validate)
    targets: Targets = attrs.field()
    preferred: tuple[int, ...] = ()

    @targets.validator
    def _check_targets(self, _: object, targets: Targets) -> None:
        if not 0 < len(targets) <= TARGETS_MAX:
            raise BadInput(
                f"cannot have chain {self.chain_id} with {len(targets)} targets: give 1 to {TARGETS_MAX}",
                chain=self.chain_id,
            )
        if len(set(self.target_ids)) != len(targets):
            raise BadInput(f"cannot have a target twice in chain {self.chain_id}: name each once", chain=self.chain_id)

    def __attrs_post_init__(self) -> None:
        if not self.preferred:
            return
        if len(set(self.preferred)) != len(self.preferred):
            raise BadInput(
                f"cannot prefer an order of chain {self.chain_id} with a target twice: name each once",
                chain=self.chain_id,
            )
        if foreign := set(self.preferred) - set(self.target_ids):
            raise BadInput(
                f"cannot prefer target {min(foreign)} in chain {self.chain_id}: it is not in this chain",
                chain=self.chain_id,
            )

    @property
    def target_ids(self) -> tuple[int, ...]:
        """The ids of its targets, head first."""
        return tuple(target.target_id for target in self.targets)

    def arranged(self, targets: Targets) -> Chain:
        """This chain with these targets; one version on if the order or a public state differs.

        Raises:
            BadInput: as the constructor.
        """
        version = self.version + differs(self.targets, targets)
        return attrs.evolve(self, version=version, targets=targets)


def differs(before: Targets, after: Targets) -> bool:
    """Whether the two say different things to clients: another target, order or public state."""
    if before is after:
        return False
    return len(before) != len(after) or any(
        old.target_id != new.target_id or old.public is not new.public for old, new in zip(before, after, strict=True)
    )


def count(targets: Targets, state: PublicState) -> int:
    """How many targets are in this public state."""
    return sum(target.public is state for target in targets)


def never_served(targets: Targets) -> bool:
    """Whether the chain is as it was created: there is no data in it yet."""
    return all(target.public is PublicState.CREATED for target in targets)


def status_word(targets: Targets) -> str:
    """What a list of chains says of one: SYNCING, SERVING, SERVING(k/n), CREATED or UNAVAILABLE."""
    serving = count(targets, PublicState.SERVING)
    if count(targets, PublicState.SYNCING):
        return "SYNCING"
    if serving == len(targets):
        return "SERVING"
    if serving:
        return f"SERVING({serving}/{len(targets)})"
    return "CREATED" if never_served(targets) else "UNAVAILABLE"


def role_word(position: int, length: int) -> str:
    """HEAD, MIDDLE or TAIL, for the target at ``position`` (from 0) of ``length``; a single one is the HEAD."""
    if position == 0:
        return "HEAD"
    return "TAIL" if position == length - 1 else "MIDDLE"
