"""What a driver feeds into a :class:`svcmgr.conn.session.Session`, and what it gets to do."""

from __future__ import annotations

from typing import Any

import msgspec

from svcmgr.conn.events import ConnEvent, Peer
from svcmgr.conn.frame import Frame
from svcmgr.errors import SvcmgrError

# --- what the driver feeds in (frames are fed as they are) ---------------------------------------


class Connect(msgspec.Struct, frozen=True):
    """The owner wants a connection to this incarnation of the process."""

    incarnation: int


class Disconnect(msgspec.Struct, frozen=True):
    """The owner wants none."""


class Terminate(msgspec.Struct, frozen=True):
    """The owner will never want one again."""


class LinkOpened(msgspec.Struct, frozen=True):
    """The dial of that attempt succeeded."""

    attempt: int
    peer: Peer


class LinkLost(msgspec.Struct, frozen=True):
    """The dial failed, or the link ended or misbehaved."""

    attempt: int
    error: SvcmgrError


class Tick(msgspec.Struct, frozen=True):
    """``next_deadline`` has come."""


# --- what the driver must do ---------------------------------------------------------------------


class Dial(msgspec.Struct, frozen=True):
    """Open a link; report it with this number."""

    attempt: int


class Drop(msgspec.Struct, frozen=True):
    """Forget the link and any dial under way; nothing from it matters any more."""


class Send(msgspec.Struct, frozen=True):
    """Send this frame on the current link."""

    frame: Frame


class Settle(msgspec.Struct, frozen=True):
    """The call of that token ended: with raw result bytes, or an error."""

    token: Any
    outcome: msgspec.Raw | SvcmgrError


class Tell(msgspec.Struct, frozen=True):
    """Tell the owner, who may call back at once. Nothing but another ``Tell`` follows in its list."""

    event: ConnEvent


Effect = Dial | Drop | Send | Settle | Tell
