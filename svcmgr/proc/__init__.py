"""The processes of one host: start them, know them, end them with everything they started."""

from svcmgr.proc.identity import ExitStatus, Identity
from svcmgr.proc.incarnation import Cgroup
from svcmgr.proc.osapi import Handle, Os, RealOs
from svcmgr.proc.process import Hooks, Process
from svcmgr.proc.reaper import Reaper
from svcmgr.proc.spec import MARK_ROOT, MARK_SERVICE, Marker, ProcSpec, StopPlan
from svcmgr.proc.stopper import State, StopOutcome, StopResult

__all__ = [
    "MARK_ROOT",
    "MARK_SERVICE",
    "Cgroup",
    "ExitStatus",
    "Handle",
    "Hooks",
    "Identity",
    "Marker",
    "Os",
    "ProcSpec",
    "Process",
    "RealOs",
    "Reaper",
    "State",
    "StopOutcome",
    "StopPlan",
    "StopResult",
]
