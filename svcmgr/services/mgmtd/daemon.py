"""mgmtd as a daemon: one :class:`Mgmtd` on a SQLite store, its operations as verbs of the unix socket."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import svcmgr
from svcmgr.errors import BadInput, Busy, StorageFailed
from svcmgr.services.daemonkit import Access, CallContext, Context, Daemon, Verb
from svcmgr.services.mgmtd import ids, wire
from svcmgr.services.mgmtd.memory import uncollected
from svcmgr.services.mgmtd.mgmtd import Identity, Mgmtd, Seams
from svcmgr.services.mgmtd.nodes import AppFacts
from svcmgr.services.mgmtd.ops.base import Caller, Operation, Scope
from svcmgr.services.mgmtd.ops.table import OPERATIONS
from svcmgr.services.mgmtd.release import parse_release
from svcmgr.services.mgmtd.store.sqlite import SqliteStore
from svcmgr.services.mgmtd.wire.base import CLUSTER_ID_MAX, is_cluster_id

#: How long the start waits to become primary, seconds, so that what is ready also answers. A lease of another mgmtd
#: may last longer; then this one starts as the one that waits.
_READY_WITHIN_S = 10.0


class Mgmtdd(Daemon):
    """The verbs are the operations of :mod:`wire`; over this socket those of nodes need administrative access."""

    name = "mgmtd"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._identity = _identity(context.flags)
        self._path: Path = context.flags.store
        self._mgmtd: Mgmtd | None = None

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--store", type=Path, required=True, metavar="PATH", help="file of the SQLite store")
        parser.add_argument("--cluster", default="default", metavar="ID", help="id of the cluster; default: default")
        parser.add_argument("--node", type=int, default=1, metavar="N", help="node id of this mgmtd; default: 1")

    @contextlib.asynccontextmanager
    async def resources(self) -> AsyncIterator[None]:
        _make_directory(self._path.parent)
        store = await SqliteStore.open(self._path)
        try:
            context = self.context
            seams = Seams(context.clock, random.random, context.log, context.stop)
            self._mgmtd = Mgmtd(self._identity, store, seams)
            async with self._mgmtd.running():
                with uncollected():
                    await self._mgmtd.await_primary(_READY_WITHIN_S)
                yield
        finally:
            await store.aclose()

    @property
    def mgmtd(self) -> Mgmtd:
        if self._mgmtd is None:
            raise Busy("cannot serve yet: mgmtd is starting; try again")
        return self._mgmtd

    def verbs(self) -> Mapping[str, Verb]:
        return {verb: self._verb(operation) for verb, operation in OPERATIONS.items()}

    def _verb(self, operation: Operation) -> Verb:
        access = Access.READ if operation.scope is Scope.READ else Access.ADMIN
        return Verb(self._handler(operation.verb), access, operation.request)

    def _handler(self, verb: str) -> Callable[[Any, CallContext], Any]:
        async def handle(request: Any, ctx: CallContext) -> wire.Answer:
            scope = Scope.ADMIN if ctx.access is Access.ADMIN else Scope.READ
            return await self.mgmtd.call(verb, request, Caller(scope, f"uid {ctx.peer.uid}"))

        return handle

    def statistics(self) -> Mapping[str, Any]:
        return self.mgmtd.statistics()


def _identity(flags: argparse.Namespace) -> Identity:
    """Raises BadInput."""
    cluster = flags.cluster
    if not is_cluster_id(cluster):
        raise BadInput(
            f"cannot serve cluster {cluster[:40]!r}: "
            f"give an id of 1 to {CLUSTER_ID_MAX} printable characters, no blanks"
        )
    app = AppFacts(
        node_id=ids.NODE_ID.check(flags.node),
        hostname=socket.gethostname(),
        pid=os.getpid(),
        release=parse_release(svcmgr.__version__),
        incarnation=uuid.uuid4().hex,
    )
    # The store is a file of this host, and the lock on the pidfile keeps a second process of this service away.
    return Identity(cluster_id=cluster, app=app, sole_instance=flags.pidfile is not None)


def _make_directory(directory: Path) -> None:
    """Where the store lies, for its owner only. Raises StorageFailed."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"cannot make {directory} for the store: {error.strerror}") from error
