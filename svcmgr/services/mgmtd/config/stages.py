"""Who gets a new version first.

Theory of operation. A stage is a share of the nodes, or the nodes with a tag. Each node has a *rank* in a roll-out: a
number of 64 bits from a hash of the roll-out's id and its own, so another roll-out begins with other nodes, and every
mgmtd computes the same. A stage by share has a *bound*: the rank up to which nodes belong to it. The bound is computed
once, when the stage begins, from the nodes that are there then, and never falls; so a node that joins later changes
nothing for the others, a larger share holds every smaller one, and a share of few nodes is at least one node.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.facts import Facts

STAGES_MAX = 50
#: Before the first stage by share.
NO_BOUND = -1
TOP_BOUND = 2**64 - 1

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%\Z", re.ASCII)
_TAG = re.compile(r"([^\s=,%]{1,100})(?:=([^\s=,]{0,200}))?\Z")
_FORM = "write stages like 1%,zone=a,25%,100%"


@attrs.frozen
class Stage:
    """``share`` percent of the nodes, or those with ``tag``, whose value must be ``value`` unless that is None."""

    share: float | None = None
    tag: str = ""
    value: str | None = None

    def __attrs_post_init__(self) -> None:
        if (self.share is None) != bool(self.tag) or (self.share is not None and self.value is not None):
            raise BadInput(f"cannot use {self} as a stage: it is a share or a tag; {_FORM}")
        if self.share is not None and not 0 < self.share <= 100:
            raise BadInput(f"cannot roll out to {self.share:g} %: give a share over 0 % and up to 100 %; {_FORM}")

    def __str__(self) -> str:
        if self.share is not None:
            return f"{self.share:g}%"
        return self.tag if self.value is None else f"{self.tag}={self.value}"

    @property
    def everyone(self) -> bool:
        return self.share == 100

    def selects(self, facts: Facts) -> bool:
        """Whether the node has the tag; a share selects by rank, and nobody here."""
        return bool(self.tag) and self.tag in facts.tags and self.value in (None, facts.tags[self.tag])


EVERYONE = Stage(share=100)


def parse_stages(text: str) -> tuple[Stage, ...]:
    """``1%,zone=a,100%`` as stages. Raises BadInput naming what is wrong."""
    if len(text) > STAGES_MAX * 310:
        raise BadInput(f"cannot use stages of {len(text)} characters: give at most {STAGES_MAX}")
    return check_stages(tuple(_parse(part.strip()) for part in text.split(",")))


def check_stages(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """``stages`` with everyone as the last, where it is missing. Raises BadInput: too many, or shares that shrink."""
    shares = [stage.share for stage in stages if stage.share is not None]
    if shares != sorted({*shares}):
        raise BadInput(
            f"cannot roll out to {', '.join(map(str, stages))}: each share must be larger than the one before"
        )
    if any(stage.everyone for stage in stages[:-1]):
        raise BadInput(f"cannot roll out to {', '.join(map(str, stages))}: nobody is left after 100%")
    whole = stages if stages and stages[-1].everyone else (*stages, EVERYONE)
    if len(whole) > STAGES_MAX:
        raise BadInput(f"cannot roll out in {len(whole)} stages: the limit is {STAGES_MAX}")
    return whole


def _parse(part: str) -> Stage:
    if found := _SHARE.match(part):
        return Stage(share=float(found[1]))
    if found := _TAG.match(part):
        return Stage(tag=found[1], value=found[2])
    raise BadInput(f"cannot use {part[:50]!r} as a stage: {_FORM}")


def rank(rollout_id: str, node_id: int) -> int:
    """The node's number in that roll-out, 0 to TOP_BOUND."""
    return int.from_bytes(hashlib.sha256(f"{rollout_id}:{node_id}".encode()).digest()[:8])


def bound(ranks: Iterable[int], share: float, before: int) -> int:
    """The bound of a stage of ``share`` percent of these ranks: not below ``before``, and over at least one of them."""
    if share == 100:
        return TOP_BOUND
    ordered = sorted(ranks)
    count = math.ceil(len(ordered) * share / 100)
    return max(before, ordered[count - 1]) if ordered else before
