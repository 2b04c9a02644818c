"""What an operation is, and the order in which every one is carried out.

Theory of operation. Cluster id, then access, then what can be said of the request alone, then whether we are primary at
all. A *query* answers from memory. A *mutation* decides: a pure function from the cluster, the request and the time to
changes and an answer. A dry run ends there. Otherwise it holds the lock from deciding until its changes are stored and
applied. A mutation that changes nothing, or only how full targets are, takes no lock and writes nothing.

An operation knows nothing of sockets, tasks or stores; those are behind :class:`Desk`.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Protocol

import attrs
import msgspec

from svcmgr.errors import NotPermitted
from svcmgr.services.mgmtd.bell import Bell
from svcmgr.services.mgmtd.changes import Cause, Change, Origin, quiet
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.errors import ClusterIdMismatch
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.reign import Reign
from svcmgr.services.mgmtd.settings import Settings


class Scope(enum.IntEnum):
    """What a caller may do; each includes those before."""

    READ = 1
    NODE = 2
    ADMIN = 3


@attrs.frozen
class Caller:
    """``name`` is for the event log. ``local``: it came over the socket of this host and need not name the cluster."""

    scope: Scope
    name: str
    local: bool = True


@attrs.frozen
class Given:
    """What a decision may look at beside the request."""

    cluster: Cluster
    settings: Settings
    now: Moment
    #: The node that this mgmtd is.
    me: int
    bootstrapping: bool = False


@attrs.frozen
class Decision:
    """``heard``: called when the changes are made; it takes note of contacts, which are no part of the cluster."""

    changes: tuple[Change, ...]
    reply: Any
    heard: Any = None


class Desk(Protocol):
    """What there is of a mgmtd for its operations."""

    cluster_id: str

    @property
    def bell(self) -> Bell:
        """Rings when clients can see something new."""
        ...

    def now(self) -> Moment:
        """On both clocks."""
        ...

    def reign(self) -> Reign:
        """The present term. Raises NotPrimary."""
        ...

    def given(self, reign: Reign) -> Given:
        """For a decision that is made now."""
        ...


class Operation:
    """One verb."""

    verb: ClassVar[str]
    request: ClassVar[type[msgspec.Struct]]
    scope: ClassVar[Scope] = Scope.READ

    def check(self, request: Any) -> None:
        """What is wrong with the request by itself. Raises BadInput and its kind."""

    async def run(self, desk: Desk, request: Any, caller: Caller) -> Any:
        """The answer."""
        raise NotImplementedError


class Query(Operation):
    """Answers from memory."""

    def answer(self, given: Given, request: Any) -> Any:
        """Pure."""
        raise NotImplementedError

    async def run(self, desk: Desk, request: Any, caller: Caller) -> Any:
        return self.answer(desk.given(desk.reign()), request)


class Mutation(Operation):
    """Changes the cluster."""

    scope: ClassVar[Scope] = Scope.ADMIN
    cause: ClassVar[Cause] = Cause.OPERATION

    def decide(self, given: Given, request: Any) -> Decision:
        """Pure. Raises what the request deserves."""
        raise NotImplementedError

    def origin(self, request: Any, caller: Caller) -> Origin:
        """Who is named in the event log."""
        return Origin(self.cause, f"{self.verb} of {caller.name}")

    async def run(self, desk: Desk, request: Any, caller: Caller) -> Any:
        reign = desk.reign()
        first = self.decide(desk.given(reign), request)
        if getattr(request, "dry_run", False):
            return first.reply
        if all(map(quiet, first.changes)):
            reign.carry_out_quiet(first.changes)
            return self._done(first)
        async with reign.lock:
            if desk.reign() is not reign:
                return await self.run(desk, request, caller)
            decision = self.decide(desk.given(reign), request)
            await reign.carry_out(decision.changes, self.origin(request, caller), desk.now())
            return self._done(decision)

    @staticmethod
    def _done(decision: Decision) -> Any:
        if decision.heard is not None:
            decision.heard()
        return decision.reply


def admit(operation: Operation, desk: Desk, request: Any, caller: Caller) -> None:
    """Let a request pass, or not.

    Raises:
        ClusterIdMismatch: it is meant for another cluster, or for none and comes from afar.
        NotPermitted: the caller may not.
        BadInput: it is wrong in itself.
    """
    wanted = request.cluster
    if wanted != desk.cluster_id and (wanted or not caller.local):
        raise ClusterIdMismatch(
            f"cannot serve {operation.verb}: it is meant for cluster {wanted[:64]!r}, this is {desk.cluster_id!r}"
        )
    if caller.scope < operation.scope:
        raise NotPermitted(f"cannot serve {operation.verb} to {caller.name}: it needs {operation.scope.name} access")
    operation.check(request)
