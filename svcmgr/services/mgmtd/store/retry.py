"""When a failed commit is tried again.

Theory of operation. All writes put absolute values under checks, so doing one again is harmless, also after an error
that leaves open whether it happened. In a round of tries the delay doubles from ``first_s`` to ``most_s``,
each multiplied by 1 +- ``jitter``; after ``tries`` failures the operator is told, and the next round starts after
``pause_s``. A store that is damaged or closed does not get better by waiting, and a batch over the limits never will.

The numbers are upstream's (deepseek-ai/3FS: src/mgmtd/service/MgmtdConfig.h, ``retry_transaction`` and
``retry_times_on_txn_errors``; src/common/kv, the 10 ms).
"""

from __future__ import annotations

import attrs

from svcmgr.errors import StorageFailed
from svcmgr.services.mgmtd.store.faults import StoreConflict, StoreCorrupt, StoreLocked, StoreOverloaded

_PASSING = (StoreConflict, StoreLocked, StoreOverloaded, StorageFailed)


@attrs.frozen
class Patience:
    """Durations in seconds. ``rounds`` after the first; None is for ever."""

    first_s: float = 0.01
    most_s: float = 1.0
    jitter: float = 0.2
    tries: int = 10
    pause_s: float = 1.0
    rounds: int | None = None


@attrs.frozen
class Again:
    """Try again after ``delay_s`` seconds. ``alarm``: a round was in vain, tell the operator."""

    delay_s: float
    alarm: bool


def again(patience: Patience, failures: int, error: Exception, chance: float) -> Again | None:
    """What to do after the ``failures``-th failure in a row (from 1); None is to give up and raise it.

    Args:
        chance: uniform in [0, 1), for the jitter.
    """
    if not isinstance(error, _PASSING) or isinstance(error, StoreCorrupt):
        return None
    rounds, within = divmod(failures, patience.tries)
    if within:
        delay = min(patience.most_s, patience.first_s * 2 ** min(within - 1, 32))
        return Again(delay * (1 + patience.jitter * (2 * chance - 1)), alarm=False)
    if patience.rounds is not None and rounds > patience.rounds:
        return None
    return Again(patience.pause_s, alarm=True)
