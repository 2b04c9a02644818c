"""Operations by which clients follow the routing information."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import routing, wire
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.errors import InvalidRoutingInfoVersion
from svcmgr.services.mgmtd.ops.base import Caller, Desk, Given, Operation, Query

#: Longest wait for news, seconds.
WAIT_MAX_S = 300.0
#: Faces made in one piece; a few milliseconds.
_SLICE = 300


def check_wait(wait_s: float) -> None:
    """Raises BadInput."""
    if not math.isfinite(wait_s) or not 0 <= wait_s <= WAIT_MAX_S:
        raise BadInput(f"cannot wait {wait_s} s for news: give 0 to {WAIT_MAX_S:g} seconds")


async def warm(cluster: Cluster) -> None:
    """Make the faces that are missing, some at a time: after an election that is all of them."""
    while cluster.faces.stale > _SLICE:
        cluster.faces.refresh(_SLICE)
        await asyncio.sleep(0)


class GetRouting(Query):
    verb = "routing"
    request = wire.RoutingRequest

    async def run(self, desk: Desk, request: wire.RoutingRequest, caller: Caller) -> Any:
        await warm(desk.reign().cluster)
        return await super().run(desk, request, caller)

    def answer(self, given: Given, request: wire.RoutingRequest) -> Any:
        newest = given.cluster.version
        if request.version > newest:
            raise InvalidRoutingInfoVersion(
                f"cannot give routing information since version {request.version}: the newest is {newest}; "
                "drop your copy and ask for version 0",
                newest=newest,
            )
        if request.version == newest:
            return wire.RoutingReply()
        return wire.RoutingReply(routing.full(given.cluster, given.bootstrapping))


class Watch(Operation):
    """Waits for what is different. Between two calls nothing is kept for a watcher."""

    verb = "watch"
    request = wire.WatchRequest

    def check(self, request: wire.WatchRequest) -> None:
        check_wait(request.wait_s)
        routing.kinds_of(request.kinds)

    async def run(self, desk: Desk, request: wire.WatchRequest, caller: Caller) -> Any:
        kinds = routing.kinds_of(request.kinds)
        deadline = desk.now().monotonic + request.wait_s
        version = request.version
        while True:
            cluster = desk.reign().cluster
            await warm(cluster)
            delta = routing.delta(cluster, version, kinds)
            if delta is None:
                return wire.WatchReply(resync=True)
            if delta.version > version and not routing.empty(delta):
                return wire.WatchReply(delta)
            # What changed is of no kind that is wanted: the next look need not see it again.
            version = delta.version
            if not await desk.bell.wait_until(deadline):
                return wire.WatchReply(delta if version > request.version else None)
