"""The verbs that every daemon has; the table is in :mod:`svcmgr.services.wire`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from svcmgr.conn import Access, CallContext, Verb
from svcmgr.errors import AlreadyExists
from svcmgr.services.wire import Configured, TerminateReply, TerminateRequest


def standard_verbs(
    collect: Callable[[], dict[str, Any]],
    reconfigure: Callable[[], Awaitable[Configured]],
    stop: Callable[[str], None],
) -> dict[str, Verb]:
    """``statistics``, ``reconfigure`` and ``terminate``; ``ping`` is the server's own."""

    async def on_reconfigure(request: Any, ctx: CallContext) -> Configured:
        return await reconfigure()

    def on_terminate(request: TerminateRequest, ctx: CallContext) -> TerminateReply:
        stop(f"verb terminate by pid {ctx.peer.pid} uid {ctx.peer.uid}: {request.reason or 'no reason given'}")
        return TerminateReply(os.getpid())

    return {
        "statistics": Verb(lambda request, ctx: collect(), Access.READ),
        "reconfigure": Verb(on_reconfigure, Access.ADMIN, deadline=60.0),
        "terminate": Verb(on_terminate, Access.ADMIN, TerminateRequest),
    }


def join_verbs(standard: Mapping[str, Verb], own: Mapping[str, Verb]) -> dict[str, Verb]:
    """Both tables as one. Raises AlreadyExists where a daemon would hide a standard verb."""
    if hidden := sorted({*standard, "ping"} & set(own)):
        raise AlreadyExists(f"cannot take the daemon's verb {hidden[0]!r}: every daemon has one of that name already")
    return {**standard, **own}
