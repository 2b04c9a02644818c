"""Lines about what svcmgrd does while an action waits, for people at a terminal.

They come over a second connection by the ``events`` verb, which answers when something happens, so nothing is
polled. Progress is a courtesy: when it cannot be had, the action goes on without it. The thread owns its
connection; it is not interrupted at the end, only silenced, because a closed descriptor does not wake whoever
reads from it and the program is about to end anyway.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from svcmgr.cli import render
from svcmgr.cli.app import ANSWER_MARGIN_S, App
from svcmgr.cli.events import WAIT_S, words
from svcmgr.errors import SvcmgrError
from svcmgr.host.wire import EventsReply, EventsRequest

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient


class Watcher:
    """The thread that prints, and the word that ends it."""

    def __init__(self, client: BlockingClient) -> None:
        self._client = client
        self._cursor = 0
        self._ended = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin with what happens from now on. Raises SvcmgrError."""
        self._cursor = self._client.call("events", EventsRequest(since=-1), type=EventsReply).next
        # A daemon thread: it waits in the kernel for the next event, and must not keep the program from ending.
        threading.Thread(target=self._run, name="progress", daemon=True).start()

    def end(self) -> None:
        """Nothing is printed after this returns."""
        with self._lock:
            self._ended = True

    def _run(self) -> None:
        with contextlib.suppress(SvcmgrError, OSError), self._client:
            while not self._ended:
                request = EventsRequest(self._cursor, wait_s=WAIT_S)
                reply = self._client.call("events", request, timeout=WAIT_S + ANSWER_MARGIN_S, type=EventsReply)
                self._cursor = reply.next
                self._print([words(event) for event in reply.events if event.name])

    def _print(self, lines: list[str]) -> None:
        with self._lock:
            if not self._ended:
                render.err(*("  " + line for line in lines))


@contextlib.contextmanager
def goes_on(what: str) -> Iterator[None]:
    """Tell whoever interrupts the block that only the waiting ends, not what they wait for."""
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            render.err(f"svcmgr: interrupted; {what}")
        raise


@contextlib.contextmanager
def watching(app: App, wait: bool) -> Iterator[None]:
    """Show events on standard error during the block, if somebody waits at a terminal."""
    watcher = _watcher(app) if wait and render.is_tty(sys.stderr) else None
    try:
        with goes_on("what svcmgrd was asked to do goes on"):
            yield
    finally:
        if watcher is not None:
            watcher.end()


def _watcher(app: App) -> Watcher | None:
    try:
        with contextlib.ExitStack() as stack:
            watcher = Watcher(stack.enter_context(app.connect()))
            watcher.start()
            stack.pop_all()  # the thread closes the connection
    except SvcmgrError:
        return None
    return watcher
