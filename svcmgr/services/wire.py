"""What every daemon and its host side say to each other: the verbs that daemonkit gives to all daemons.

A daemon's own verbs are in its own ``wire.py``; these are the ones it has without writing any. Times are UTC seconds
since the epoch, durations are seconds.

===============  ======  ===============  =================  =====================================================
verb             access  request          answer             what it does
===============  ======  ===============  =================  =====================================================
ping             read    none             (conn's own)       the loop of the daemon turns
statistics       read    none             dict               sections of facts, see docs/daemons.md
reconfigure      admin   none             Configured         fetch the volfile again and apply it if it changed
terminate        admin   TerminateRequest TerminateReply     orderly end, as SIGTERM
===============  ======  ===============  =================  =====================================================

In the other direction a daemon asks its volfile server one verb: ``volfile``, VolfileRequest -> VolfileReply. The
server answers an id that it does not know with an error of the ``BadInput`` family.
"""

from __future__ import annotations

import msgspec


class VolfileRequest(msgspec.Struct, frozen=True):
    """``id`` is the only thing a daemon knows about its configuration, for example ``snapd/vol0``."""

    id: str


class VolfileReply(msgspec.Struct, frozen=True):
    """``checksum`` is opaque to the daemon: equal means that nothing changed."""

    text: str
    checksum: str


class Configured(msgspec.Struct, frozen=True, omit_defaults=True):
    """The configuration in force and the last attempt to change it.

    ``result`` is one of: never, configured, unchanged, failed. ``checksum`` and ``at`` belong to the configuration in
    force, ``count`` says how often one was applied, ``error`` is the last attempt's when ``result`` is failed.
    """

    result: str = "never"
    at: float | None = None
    checksum: str | None = None
    count: int = 0
    error: str = ""


class TerminateRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``reason`` goes to the daemon's log."""

    reason: str = ""


class TerminateReply(msgspec.Struct, frozen=True):
    """Sent before the end begins; the end of the connection follows."""

    pid: int
