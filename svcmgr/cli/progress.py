"""Lines about what svcmgrd does while an action waits, for people at a terminal.

They come over a second connection by the ``events`` verb, which answers when something happens, so nothing is
polled. Progress is a courtesy: when it cannot be had, the action goes on without it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from svcmgr.cli import render
from svcmgr.cli.app import ANSWER_MARGIN_S, App
from svcmgr.errors import SvcmgrError
from svcmgr.host.wire import EventsReply, EventsRequest

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient


@contextlib.contextmanager
def watching(app: App, wait: bool) -> Iterator[None]:
    """Show events on standard error during the block, if somebody waits at a terminal."""
    if not wait or not render.is_tty(sys.stderr):
        yield
        return
    try:
        client = app.connect()
        client.__enter__()
    except SvcmgrError:
        yield
        return
    try:
        cursor = client.call("events", EventsRequest(since=-1), type=EventsReply).next
        # A daemon thread: if the terminal blocks it, it must not keep the program from ending.
        watcher = threading.Thread(target=_show, args=(client, cursor), name="progress", daemon=True)
        watcher.start()
        yield
    finally:
        client.close()


def _show(client: BlockingClient, cursor: int) -> None:
    from svcmgr.cli.events import WAIT_S, words

    # Closing the client from outside is the ordinary end of this loop.
    with contextlib.suppress(SvcmgrError, OSError, ValueError):
        while True:
            request = EventsRequest(cursor, wait_s=WAIT_S)
            reply = client.call("events", request, timeout=WAIT_S + ANSWER_MARGIN_S, type=EventsReply)
            render.err(*("  " + words(event) for event in reply.events if event.name))
            cursor = reply.next
