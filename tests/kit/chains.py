"""Chains written short: ``A:Su B:Yn C:Ox`` is target 1 SERVING-UPTODATE, 2 SYNCING-ONLINE, 3 OFFLINE-OFFLINE.

Also every chain there can be, and the invariants that hold for what :func:`judge` makes of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from svcmgr.services.mgmtd.chain import Chain, Targets, count
from svcmgr.services.mgmtd.states import ALIVE, LocalState, PublicState
from svcmgr.services.mgmtd.targets import ChainTarget

P, L = PublicState, LocalState
PUBLIC = {"S": P.SERVING, "L": P.LASTSRV, "Y": P.SYNCING, "W": P.WAITING, "O": P.OFFLINE, "C": P.CREATED}
LOCAL = {"u": L.UPTODATE, "n": L.ONLINE, "x": L.OFFLINE}
_PUBLIC_LETTER = {state: letter for letter, state in PUBLIC.items()}
_LOCAL_LETTER = {state: letter for letter, state in LOCAL.items()}


def read(text: str) -> Targets:
    """The targets of ``A:Su B:Yn``; without a local state (``A:S``) it is OFFLINE."""
    return tuple(_read_target(*word.split(":")) for word in text.split())


def _read_target(name: str, states: str) -> ChainTarget:
    return ChainTarget(number(name), PUBLIC[states[0]], LOCAL[states[1:] or "x"])


def number(name: str) -> int:
    """The id of target A, B, ..."""
    return ord(name) - ord("A") + 1


def numbers(names: str) -> tuple[int, ...]:
    """The ids of the targets of ``A B C``."""
    return tuple(number(name) for name in names.split())


def show(targets: Targets) -> str:
    """What :func:`read` reads."""
    return " ".join(
        f"{chr(t.target_id + ord('A') - 1)}:{_PUBLIC_LETTER[t.public]}{_LOCAL_LETTER[t.local]}" for t in targets
    )


def chain(text: str, preferred: str = "", version: int = 7) -> Chain:
    """Chain 1 with these targets."""
    return Chain(1, version, read(text), numbers(preferred))


def heard(targets: Targets, locals_: Iterable[LocalState]) -> Targets:
    """The targets with these local states, in order."""
    return tuple(target.heard(local) for target, local in zip(targets, locals_, strict=True))


def valid(targets: Targets) -> bool:
    """Whether the public states satisfy I1 to I6 and hold a SERVING or LASTSRV."""
    return bool(count(targets, P.SERVING) or count(targets, P.LASTSRV)) and not list(shape_breaches(targets))


def every_valid(length: int) -> Iterator[Targets]:
    """All valid chains of this length with all local states."""
    for publics in itertools.product([s for s in P if s not in (P.INVALID, P.CREATED)], repeat=length):
        targets = tuple(ChainTarget(place + 1, public) for place, public in enumerate(publics))
        if valid(targets):
            for locals_ in itertools.product(LOCAL.values(), repeat=length):
                yield heard(targets, locals_)


def shape_breaches(after: Targets) -> Iterator[str]:
    """Which of I1 to I6 the public states of one chain break."""
    serving, lastsrv, syncing = (count(after, state) for state in (P.SERVING, P.LASTSRV, P.SYNCING))
    checks = {
        "I1": not (serving and lastsrv),
        "I2": not (syncing and lastsrv),
        "I3": syncing <= 1,
        "I4": lastsrv <= 1,
        "I5": not syncing or serving,
        "I6": [t.public for t in after] == sorted(t.public for t in after),
    }
    return (name for name, holds in checks.items() if not holds)


def step_breaches(before: Targets, after: Targets) -> Iterator[str]:
    """Which of I1 to I12 one judgement breaks."""
    yield from shape_breaches(after)
    was, now = _ids(before, P.SERVING), _ids(after, P.SERVING)
    checks = {
        "I7": sorted(t.target_id for t in before) == sorted(t.target_id for t in after),
        "I8": all((t.local in ALIVE) == (t.public not in (P.LASTSRV, P.OFFLINE)) for t in after),
        "I9": [i for i in was if i in now] == [i for i in now if i in was],
        "I10": not (was and now) or bool(set(now) & {*was, *_ids(before, P.SYNCING)}),
        "I11": bool(now) or not was or (_ids(after, P.LASTSRV) == was[:1] and _offline(after, was[1:])),
        "I12": bool(now or _ids(after, P.LASTSRV)) or not (was or _ids(before, P.LASTSRV)),
    }
    yield from (name for name, holds in checks.items() if not holds)


def _ids(targets: Targets, state: PublicState) -> list[int]:
    return [target.target_id for target in targets if target.public is state]


def _offline(targets: Targets, ids: list[int]) -> bool:
    return set(ids) <= set(_ids(targets, P.OFFLINE))
