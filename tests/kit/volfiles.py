"""A volfile server in a thread of the test: it serves a dict that the test may change at any time."""

import asyncio
import contextlib
import hashlib
import os
import threading

from svcmgr.clock import SystemClock
from svcmgr.conn import Access, Server, ServerSpec, Verb
from svcmgr.errors import BadInput
from svcmgr.services.wire import VolfileReply, VolfileRequest


class VolfileServer:
    """``texts`` maps volfile id to text; ``requests`` are the ids asked for, in order."""

    def __init__(self, path):
        self.path = path
        self.texts = {}
        self.requests = []

    def _volfile(self, request, ctx):
        self.requests.append(request.id)
        if request.id not in self.texts:
            raise BadInput(f"cannot serve volfile {request.id!r}: no such id")
        text = self.texts[request.id]
        return VolfileReply(text, hashlib.sha256(text.encode()).hexdigest())

    async def _serve(self, up, end):
        spec = ServerSpec(
            address=f"unix:{self.path}", name="volfiles", incarnation=os.getpid(), access=lambda peer: Access.READ
        )
        server = Server(spec, {"volfile": Verb(self._volfile, Access.READ, VolfileRequest)}, clock=SystemClock())
        await server.start()
        try:
            up.set()
            await asyncio.to_thread(end.wait)
        finally:
            await server.aclose()

    @contextlib.contextmanager
    def serving(self):
        up, end = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(up, end)))
        thread.start()
        try:
            assert up.wait(20)
            yield self
        finally:
            end.set()
            thread.join()
