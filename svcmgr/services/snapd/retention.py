"""Which snapshots of a schedule are kept.

Theory of operation. A rule such as ``daily=7`` sorts snapshots into buckets, here days, and keeps the newest one of
each of the last seven buckets *that hold any*. A day without a snapshot is no bucket, so a host that was off for a
month has lost nothing when it comes back. ``last=10`` is the rule whose buckets hold one snapshot each. Rules do not
know each other: a snapshot is kept when one of them wants it. From this it follows that

* the newest is always kept, because it is the newest of its bucket under every rule and there is one rule at least;
* a larger number never deletes more, and deciding twice deletes nothing the second time;
* the order in which snapshots are listed does not matter.

The same rules are found in restic (restic/restic, internal/data/snapshot_policy.go) and, apart from how rules share
snapshots, in borg (borgbackup/borg, ``borg prune``).

A snapshot that is dated after now was taken under a wrong clock. It is neither counted nor deleted until its time has
come: counted, it would push out everything taken since the clock was put right. All buckets are of UTC; a week
begins on Monday, as in ISO 8601.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

import attrs

from svcmgr.errors import BadInput
from svcmgr.volume.civil import civil

#: Most snapshots that one rule can ask for; a volume can have no more than that (features.snapshot-max-count).
KEEP_MAX = 65_536
DAY_S = 86_400
#: 1970-01-05T00:00:00Z, a Monday: weeks, and the intervals of schedules, are counted from here.
MONDAY = 4 * DAY_S
WEEK_S = 7 * DAY_S

#: All rules with their largest numbers take a third of it.
_TEXT_MAX = 200
_KEEP_FORM = "write it like last=10,hourly=24,daily=7,weekly=4,monthly=12,yearly=2"


@attrs.frozen
class Held:
    """A snapshot that is there: unique ``id``, ``name``, and ``created`` in UTC seconds."""

    id: str
    name: str
    created: float


def _month(utc: float) -> int:
    at = civil(max(0.0, utc))
    return at.year * 12 + at.month


#: Rule -> the bucket of a moment. ``last`` has none: each snapshot is its own.
_BUCKETS: dict[str, Callable[[float], int]] = {
    "hourly": lambda utc: math.floor(utc / 3600),
    "daily": lambda utc: math.floor(utc / DAY_S),
    "weekly": lambda utc: math.floor((utc - MONDAY) / WEEK_S),
    "monthly": _month,
    "yearly": lambda utc: civil(max(0.0, utc)).year,
}
RULES = ("last", *_BUCKETS)


@attrs.frozen
class Keep:
    """How many to keep by each rule; 0 where a rule is not used.

    Raises:
        BadInput: a number outside 0 to KEEP_MAX, or all of them 0.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __attrs_post_init__(self) -> None:
        for rule, count in self.rules(zeros=True).items():
            if not 0 <= count <= KEEP_MAX:
                raise BadInput(f"cannot keep {rule}={count}: give a number from 0 to {KEEP_MAX}", rule=rule)
        if not self.rules():
            raise BadInput(f"cannot keep nothing: at least one number must be over 0; {_KEEP_FORM}")

    def rules(self, *, zeros: bool = False) -> dict[str, int]:
        """The rules that are used, or with ``zeros`` all of them, in the order of RULES."""
        return {rule: count for rule in RULES if (count := getattr(self, rule)) or zeros}


def parse_keep(text: str) -> Keep:
    """``last=10,daily=7`` as Keep. Raises BadInput naming what is wrong."""
    if len(text) > _TEXT_MAX:
        raise BadInput(f"cannot keep {text[:50]!r}...: {len(text)} characters, the limit is {_TEXT_MAX}; {_KEEP_FORM}")
    numbers: dict[str, int] = {}
    for part in text.split(","):
        rule, _, count = (side.strip() for side in part.partition("="))
        if rule not in RULES or not re.fullmatch(r"[0-9]{1,9}", count):
            raise BadInput(f"cannot keep {part.strip()[:50]!r}: {_KEEP_FORM}")
        if rule in numbers:
            raise BadInput(f"cannot keep {text[:100]!r}: {rule} is there twice")
        numbers[rule] = int(count)
    return make_keep(numbers)


def make_keep(numbers: Mapping[str, int]) -> Keep:
    """Keep from rule -> count, as it is stored. Raises BadInput for an unknown rule or a bad number."""
    if unknown := [rule for rule in numbers if rule not in RULES]:
        raise BadInput(f"cannot keep {unknown[0][:50]!r}: the rules are {', '.join(RULES)}")
    return Keep(**numbers)


def expire(held: Iterable[Held], keep: Keep, now: float) -> list[Held]:
    """Those of ``held`` to delete, oldest first. ``now`` is UTC seconds.

    ``held`` must be the snapshots of one schedule and of nobody else.
    """
    past = sorted((one for one in held if one.created <= now), key=lambda one: (one.created, one.id), reverse=True)
    wanted: set[str] = {one.id for one in past[: keep.last]}
    for rule, bucket in _BUCKETS.items():
        wanted |= _newest_of_each(past, bucket, getattr(keep, rule))
    return [one for one in reversed(past) if one.id not in wanted]


def _newest_of_each(newest_first: list[Held], bucket: Callable[[float], int], count: int) -> set[str]:
    found: dict[int, str] = {}
    for one in newest_first:
        if len(found) == count:
            break
        found.setdefault(bucket(one.created), one.id)
    return set(found.values())
