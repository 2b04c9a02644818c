"""The life of a roll-out, as a table.

Theory of operation. RUNNING waits until all nodes of the stage run with the new version; SOAKING waits for a time in
which none of them may fail; then the next stage runs. Any node that fails halts it, and so does a stage that does not
settle in time. HALTED gives the new version to no further node until an operator resumes or aborts. An abort is a
roll-back: ABORTING lasts until the old content is stored as a version newer than both. What depends on more than the
state is decided before the step: SETTLED or UNSETTLED by who runs with what, SOAKED or LAST_SOAKED by the stage.
"""

from __future__ import annotations

import enum

from svcmgr.fsm import Cell, Table, to


class Phase(enum.Enum):
    """Where a roll-out is."""

    RUNNING = "running"
    SOAKING = "soaking"
    HALTED = "halted"
    ABORTING = "aborting"
    ABORTED = "aborted"
    FINISHED = "finished"


class Ev(enum.Enum):
    """Events of the table."""

    SETTLED = "settled"
    UNSETTLED = "unsettled"
    SOAKED = "soaked"
    LAST_SOAKED = "last soaked"
    FAILED = "failed"
    LATE = "late"
    HALT = "halt"
    RESUME = "resume"
    ABORT = "abort"
    ROLLED_BACK = "rolled back"


class Do(enum.Enum):
    """Effects, carried out in order."""

    ARM_SETTLE = "arm settle"
    ARM_SOAK = "arm soak"
    DISARM = "disarm"
    NEXT_STAGE = "next stage"
    FORGIVE = "forgive"
    ROLL_BACK = "roll back"
    PERSIST = "persist"
    ANNOUNCE = "announce"


R, S, H, A = Phase.RUNNING, Phase.SOAKING, Phase.HALTED, Phase.ABORTING
_HALT: Cell[Phase, Do] = to(H, Do.DISARM, Do.PERSIST, Do.ANNOUNCE)
_ABORT: Cell[Phase, Do] = to(A, Do.DISARM, Do.PERSIST, Do.ROLL_BACK, Do.ANNOUNCE)

_cells: dict[tuple[Phase, Ev], Cell[Phase, Do]] = {
    (R, Ev.SETTLED): to(S, Do.ARM_SOAK),
    (R, Ev.FAILED): _HALT,
    (R, Ev.LATE): _HALT,
    (R, Ev.HALT): _HALT,
    (R, Ev.ABORT): _ABORT,
    (S, Ev.UNSETTLED): to(R, Do.ARM_SETTLE),
    (S, Ev.SOAKED): to(R, Do.NEXT_STAGE, Do.ARM_SETTLE, Do.PERSIST, Do.ANNOUNCE),
    (S, Ev.LAST_SOAKED): to(Phase.FINISHED, Do.DISARM, Do.PERSIST, Do.ANNOUNCE),
    (S, Ev.FAILED): _HALT,
    (S, Ev.HALT): _HALT,
    (S, Ev.ABORT): _ABORT,
    (H, Ev.RESUME): to(R, Do.FORGIVE, Do.ARM_SETTLE, Do.PERSIST, Do.ANNOUNCE),
    (H, Ev.ABORT): _ABORT,
    (A, Ev.ABORT): to(A, Do.ROLL_BACK),
    (A, Ev.ROLLED_BACK): to(Phase.ABORTED, Do.PERSIST, Do.ANNOUNCE),
}

TABLE: Table[Phase, Ev, Do] = Table("rollout", R, _cells)
