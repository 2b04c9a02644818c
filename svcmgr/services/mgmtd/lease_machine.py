"""From follower to primary and back, as a table.

An owner serves when it has loaded the state and trusts its lease. While it does not trust it, it pauses: nobody else
can have written, so when it gets the extension through it goes on with what it has. When the lease is lost, the state
is dropped.
"""

from __future__ import annotations

import enum

from svcmgr.fsm import Table, to


class Role(enum.Enum):
    FOLLOWER = enum.auto()
    #: Owns the lease; loading failed and is tried again with the next extension.
    OWNER = enum.auto()
    LOADING = enum.auto()
    PRIMARY = enum.auto()
    #: Owns a lease that it does not trust.
    SUSPECT = enum.auto()


class Turn(enum.Enum):
    WON = enum.auto()
    RENEWED = enum.auto()
    LOADED = enum.auto()
    LOADED_UNTRUSTED = enum.auto()
    LOAD_FAILED = enum.auto()
    TRUST_LOST = enum.auto()
    LOST = enum.auto()


class Act(enum.Enum):
    LOAD = enum.auto()
    SERVE = enum.auto()
    PAUSE = enum.auto()
    RETIRE = enum.auto()


_R, _T, _A = Role, Turn, Act
_LOST = to(_R.FOLLOWER, _A.RETIRE)

TABLE: Table[Role, Turn, Act] = Table(
    "lease",
    _R.FOLLOWER,
    {
        (_R.FOLLOWER, _T.WON): to(_R.LOADING, _A.LOAD),
        (_R.OWNER, _T.RENEWED): to(_R.LOADING, _A.LOAD),
        (_R.OWNER, _T.LOST): _LOST,
        (_R.LOADING, _T.RENEWED): to(_R.LOADING),
        (_R.LOADING, _T.LOADED): to(_R.PRIMARY, _A.SERVE),
        (_R.LOADING, _T.LOADED_UNTRUSTED): to(_R.SUSPECT),
        (_R.LOADING, _T.LOAD_FAILED): to(_R.OWNER),
        (_R.LOADING, _T.LOST): _LOST,
        (_R.PRIMARY, _T.RENEWED): to(_R.PRIMARY),
        (_R.PRIMARY, _T.TRUST_LOST): to(_R.SUSPECT, _A.PAUSE),
        (_R.PRIMARY, _T.LOST): _LOST,
        (_R.SUSPECT, _T.RENEWED): to(_R.PRIMARY, _A.SERVE),
        (_R.SUSPECT, _T.LOST): _LOST,
    },
)
