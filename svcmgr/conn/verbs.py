"""Verbs: the table a server is made from, and the rules every request passes.

A verb has a handler, the access class it needs, the type its request must fit, and a deadline. The checks are
made in that order before the handler runs: known verb, access, request. A request that is nil is taken as an
empty map where the type is a struct, so that a caller may leave it out when every field has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import msgspec

from svcmgr.conn.access import Access
from svcmgr.conn.events import Peer
from svcmgr.conn.frame import decode_value
from svcmgr.errors import BadInput, NotPermitted, UnknownVerb

_NIL = b"\xc0"
_EMPTY_MAP = b"\x80"


class Subscriber(Protocol):
    """The connection behind a call, as far as handlers see it."""

    def subscribe(self, topic: str) -> None:
        """Events of ``topic`` published from now on are sent to it."""
        ...

    def unsubscribe(self, topic: str) -> None:
        """No more."""
        ...


@attrs.frozen
class CallContext:
    """What a handler knows about its call beside the request.

    ``deadline`` is in monotonic seconds: later the answer is of no use, and an async handler is cancelled.
    It is None for a cast without limit.
    """

    verb: str
    peer: Peer
    access: Access
    deadline: float | None
    connection: Subscriber

    def subscribe(self, topic: str) -> None:
        """Send events of ``topic``, published from now on, to the caller's connection. Idempotent."""
        self.connection.subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """Stop that. Idempotent."""
        self.connection.unsubscribe(topic)


#: ``handler(request, ctx)`` gives the result, or an awaitable of it. A plain function is answered without a
#: task and must not block. Results are anything msgspec encodes, or ``msgspec.Raw`` that is encoded already.
Handler = Callable[[Any, CallContext], Any]


@attrs.frozen
class Verb:
    """One row of the table. ``request`` None: takes no parameters. ``deadline``: seconds, caps the caller's."""

    handler: Handler
    access: Access = Access.READ
    request: Any = None
    deadline: float | None = None


class VerbTable:
    """The rows, ready for use."""

    def __init__(self, verbs: Mapping[str, Verb]) -> None:
        self._rows = {name: (verb, _takes_fields(verb.request)) for name, verb in verbs.items()}

    def admit(self, name: str, params: Any, access: Access) -> tuple[Verb, Any]:
        """The verb and its decoded request.

        Raises:
            UnknownVerb: no such row.
            NotPermitted: ``access`` is not enough.
            BadInput: the request does not fit; ``details["field"]`` is the path of the bad field.
        """
        row = self._rows.get(name)
        if row is None:
            raise UnknownVerb(f"cannot serve {name!r}: no such verb", verb=name, known=sorted(self._rows))
        verb, takes_fields = row
        if access < verb.access:
            raise NotPermitted(f"cannot serve {name!r}: it needs {verb.access.name.lower()} access", verb=name)
        raw = bytes(params)
        if verb.request is None:
            if raw not in (_NIL, _EMPTY_MAP):
                raise BadInput(f"cannot accept parameters for {name!r}: it takes none", verb=name, field="$")
            return verb, None
        if raw == _NIL and takes_fields:
            raw = _EMPTY_MAP
        return verb, decode_value(raw, verb.request, f"the request of {name!r}")


def _takes_fields(request: Any) -> bool:
    return isinstance(request, type) and (issubclass(request, msgspec.Struct) or attrs.has(request))
