"""Services: a goal, a process and a connection, kept together. The one room that knows both siblings."""

from svcmgr.svc.answers import LastExit, Past
from svcmgr.svc.backoff import Backoff, BackoffSpec
from svcmgr.svc.change import Change, Verdict
from svcmgr.svc.graph import Graph, Links
from svcmgr.svc.launch import MARK_INCARNATION, base_environment
from svcmgr.svc.lifecycle import Goal, Restart, State
from svcmgr.svc.registry import Registry
from svcmgr.svc.results import Result, judge_start, judge_stop
from svcmgr.svc.seams import Seams
from svcmgr.svc.service import Service
from svcmgr.svc.spec import Readiness, ServiceSpec, changed_fields
from svcmgr.svc.status import Status
from svcmgr.svc.supervisor import Supervisor

__all__ = [
    "MARK_INCARNATION",
    "Backoff",
    "BackoffSpec",
    "Change",
    "Goal",
    "Graph",
    "LastExit",
    "Links",
    "Past",
    "Readiness",
    "Registry",
    "Restart",
    "Result",
    "Seams",
    "Service",
    "ServiceSpec",
    "State",
    "Status",
    "Supervisor",
    "Verdict",
    "base_environment",
    "changed_fields",
    "judge_start",
    "judge_stop",
]
