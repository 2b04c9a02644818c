"""Which method takes a volume: one for all of its bricks, so that a snapshot is one thing with one promise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from svcmgr.errors import Unsupported
from svcmgr.services.snapd.methods.base import Method
from svcmgr.services.snapd.methods.copies import Copy, Reflink
from svcmgr.services.snapd.methods.subvolume import Subvolume
from svcmgr.services.snapd.reserve import Brick

#: From the best to the one that always works.
ALL: tuple[Method, ...] = (Subvolume(), Reflink(), Copy())


def choose(wanted: str, bricks: Sequence[Brick]) -> Method:
    """The method called ``wanted``, or for "auto" the best one that can take every brick.

    Raises:
        Unsupported: ``wanted`` cannot take a brick; nothing was written.
    """
    if wanted == "auto":
        return next(method for method in ALL if not _refusal(method, bricks))
    method = next(method for method in ALL if method.name == wanted)
    if refusal := _refusal(method, bricks):
        brick, why = refusal
        raise Unsupported(
            f"cannot take a snapshot of {brick} by method {wanted}: {why}; set features.snapshot-method to auto",
            brick=str(brick),
            method=wanted,
        )
    return method


def best_for(brick: Brick) -> str:
    """The name of the best method for one brick, for those who ask what it could be."""
    return next(method.name for method in ALL if not method.refusal(brick))


def _refusal(method: Method, bricks: Iterable[Brick]) -> tuple[Brick, str] | None:
    return next(((brick, why) for brick in bricks if (why := method.refusal(brick))), None)
