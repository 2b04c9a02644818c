"""The cluster that a command is about: the way to its mgmtd, why nobody answers, and the shape of what is printed.

The commands talk to mgmtd itself, so they work while svcmgrd is down. Only when nobody listens is svcmgrd asked, and
its answer becomes one sentence with the command that helps.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.mgmtd_objects import whole
from svcmgr.errors import EXIT_OK, NoSvcmgrd, NotRunning, ProtocolFault, SvcmgrError, UnknownService
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.wire import Answer

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient

T = TypeVar("T")

#: A change is a transaction of a store that may be busy; how long its answer may take, seconds.
ANSWER_S = 30.0


class Cluster:
    """What one command asks of the mgmtd of a service, and how it prints the answer.

    ``epoch``, ``version`` and ``node`` are those of the last answer. The connection is made by the first question, so
    that bad input is told first. Used in a ``with``.
    """

    def __init__(self, app: App, service: str, as_json: bool, wide: bool = False, dry_run: bool = False) -> None:
        self.as_json = as_json
        self.dry_run = dry_run
        self.epoch = self.version = self.node = 0
        self._wide = wide
        self._app = app
        self._service = service
        self._client: BlockingClient | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()

    def ask(self, verb: str, request: Any, kind: type[T], timeout: float = ANSWER_S) -> T:
        """The result of ``verb`` as ``kind``; ``timeout`` in seconds.

        Raises:
            NotPrimary: the answer is older than one that was given before (a lease was lost meanwhile).
            ProtocolFault: the result is not of that kind.
            SvcmgrError: nobody listens, and why; or what mgmtd refuses.
        """
        answer = self._connected().call(verb, request, timeout=timeout, type=Answer)
        if answer.epoch < self.epoch:
            raise NotPrimary(
                f"cannot use the answer to {verb!r}: it is of epoch {answer.epoch}, one of epoch {self.epoch} came "
                "before; ask again"
            )
        self.epoch, self.version, self.node = answer.epoch, answer.version, answer.node
        try:
            return msgspec.convert(answer.result, kind)
        except msgspec.ValidationError as error:
            raise ProtocolFault(f"cannot read the answer to {verb!r}: {error}") from error

    def _connected(self) -> BlockingClient:
        if self._client is None:
            client = self._app.connect_service(self._service, ANSWER_S)
            try:
                client.connect()
            except NoSvcmgrd:
                raise why_not(self._app, self._service) from None
            self._client = client
        return self._client

    def finish(self, lines: Sequence[str], **content: Any) -> int:
        """Print an answer: ``lines`` for people, or ``content`` with where it comes from as JSON."""
        if self.as_json:
            render.write(render.json_document(self.document(**content)))
        else:
            render.out(*map(render.clean, lines))
        return EXIT_OK

    def changed(self, *lines: str, **content: Any) -> int:
        """Print what was changed, or with --dry-run what would be."""
        told = [f"dry run: {line}" for line in lines] if self.dry_run else lines
        return self.finish(told, dry_run=self.dry_run, **content)

    def listed(
        self, columns: Sequence[render.Column], rows: Sequence[Sequence[str]], notes: Sequence[str], **content: Any
    ) -> int:
        """Print a table with ``notes`` below it, or ``content`` as JSON."""
        if self.as_json:
            return self.finish([], **content)
        colour = render.use_colour(sys.stdout, self._app.environ)
        below = [render.clean(note) for note in notes]
        if rows:
            room = None if self._wide else render.terminal_width(sys.stdout, self._app.environ)
            lines, left_out = render.table(columns, rows, room=room)
            render.out(*lines)
            if left_out:
                titles = ", ".join(title.lower() for title in left_out)
                below.insert(0, f"left out for lack of room: {titles} (--wide shows all)")
        render.out(*(render.paint(note, "dim", colour) for note in below))
        return EXIT_OK

    def document(self, **content: Any) -> dict[str, Any]:
        """``content`` as JSON, after the epoch and the routing version that it was told under."""
        return {"epoch": self.epoch, "version": self.version, **whole(content)}


def why_not(app: App, service: str) -> SvcmgrError:
    """The error that says why the mgmtd of ``service`` does not answer, and what to do."""
    from svcmgr.host.wire_status import StatusReply, StatusRequest

    try:
        with app.connect() as svcmgrd:
            reply = svcmgrd.call("status", StatusRequest([service], paths=True), type=StatusReply)
    except UnknownService:
        return NotRunning(_unknown(service))
    except NoSvcmgrd as error:
        return NoSvcmgrd(f"{_CANNOT}: {service} does not run, and svcmgrd is down", **error.details)
    row = next((one for one in reply.services if one.name == service), None)
    if row is None:
        return NotRunning(_unknown(service))
    if row.status in ("online", "starting"):
        return NotRunning(
            f"{_CANNOT}: {service} is {row.status} and nobody listens at {row.socket} yet; try again, "
            f"or see `svcmgr show {service}` whether it is of kind mgmtd"
        )
    details = {"log_tail": row.last_exit.log_tail} if row.last_exit is not None else {}
    reason = f" ({row.reason})" if row.reason else ""
    log = f", its log is {row.log}" if row.log else ""
    return NotRunning(f"{_CANNOT}: {service} is {row.status}{reason}{log}; `svcmgr start {service}`", **details)


_CANNOT = "cannot ask the cluster's mgmtd"


def _unknown(service: str) -> str:
    return (
        f"{_CANNOT}: svcmgrd has no service {service}; `svcmgr add {service} --kind mgmtd --start` makes one, "
        "--service names another"
    )
