"""The processes of one host: start them, know them, end them with everything they started.

Names are loaded when first asked for, so that a daemon which needs only its pidfile, and a command line which reads a
log, do not pay for the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svcmgr.proc.identity import ExitStatus as ExitStatus
    from svcmgr.proc.identity import Identity as Identity
    from svcmgr.proc.incarnation import Cgroup as Cgroup
    from svcmgr.proc.osapi import RealOs as RealOs
    from svcmgr.proc.process import Hooks as Hooks
    from svcmgr.proc.process import Process as Process
    from svcmgr.proc.reaper import Reaper as Reaper
    from svcmgr.proc.seam import Handle as Handle
    from svcmgr.proc.seam import Os as Os
    from svcmgr.proc.spec import MARK_ROOT as MARK_ROOT
    from svcmgr.proc.spec import MARK_SERVICE as MARK_SERVICE
    from svcmgr.proc.spec import Marker as Marker
    from svcmgr.proc.spec import ProcSpec as ProcSpec
    from svcmgr.proc.spec import StopPlan as StopPlan
    from svcmgr.proc.stopper import State as State
    from svcmgr.proc.stopper import StopOutcome as StopOutcome
    from svcmgr.proc.stopper import StopResult as StopResult

_WHERE = {
    "MARK_ROOT": "spec",
    "MARK_SERVICE": "spec",
    "Cgroup": "incarnation",
    "ExitStatus": "identity",
    "Handle": "seam",
    "Hooks": "process",
    "Identity": "identity",
    "Marker": "spec",
    "Os": "seam",
    "ProcSpec": "spec",
    "Process": "process",
    "RealOs": "osapi",
    "Reaper": "reaper",
    "State": "stopper",
    "StopOutcome": "stopper",
    "StopPlan": "spec",
    "StopResult": "stopper",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{where}"), name)
