"""What svcmgrd and its clients say to each other: verbs, requests, answers.

The host side and every client meet only here. Types are msgspec structs, so that a client imports nothing
heavy and each message is validated where it arrives. Times on this wire are UTC seconds since the epoch
(floats); durations are seconds.

Verbs (all take one request struct, encoded as a map, and give one answer):

=============  ======  ===================  ======================  =======================================
verb           access  request              answer                  what it does
=============  ======  ===================  ======================  =======================================
hello          read    none                 DaemonInfo              who answers here
status         read    StatusRequest        StatusReply             the state of services, from memory
show           read    NameRequest          dict                    definition and every derived fact of one
kinds          read    none                 list[KindInfo]          registered service kinds
events         read    EventsRequest        EventsReply             events after a cursor; may wait for one
doctor         read    none                 list[Finding]           what looks wrong on this root
volfile        read    VolfileRequest       VolfileReply            a daemon's configuration (services/wire.py)
start          admin   ActionRequest        ActionReply             goal UP, and wait until ready
stop           admin   ActionRequest        ActionReply             goal DOWN, and wait until gone
restart        admin   ActionRequest        ActionReply             stop, then start
reload         admin   ActionRequest        ActionReply             services re-read their configuration
enable         admin   ActionRequest        ActionReply             start at boot of svcmgrd
disable        admin   ActionRequest        ActionReply             do not start at boot
add            admin   AddRequest           ActionReply             store a definition (and start it)
remove         admin   RemoveRequest        ActionReply             forget a definition
plan           read    none                 ReloadReply             what ``reread`` would change
reread         admin   none                 ReloadReply             read the definitions again, apply the diff
shutdown       admin   ShutdownRequest      ShutdownReply           end svcmgrd
=============  ======  ===================  ======================  =======================================
"""

from __future__ import annotations

from typing import Any

import msgspec

from svcmgr.host.wire_status import DaemonInfo as DaemonInfo
from svcmgr.host.wire_status import Exit as Exit
from svcmgr.host.wire_status import ServiceRow as ServiceRow
from svcmgr.host.wire_status import StatusReply as StatusReply
from svcmgr.host.wire_status import StatusRequest as StatusRequest


class NameRequest(msgspec.Struct, frozen=True):
    name: str


class KindInfo(msgspec.Struct, frozen=True):
    """A service kind; ``summary`` is the first line of its class's docstring."""

    kind: str
    summary: str
    source: str
    error: str = ""


class EventsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events with ``seq > since``; ``wait_s`` > 0 waits that long for the first one. ``since=-1``: only new."""

    since: int = 0
    wait_s: float = 0.0
    names: list[str] = []
    limit: int = 1000


class EventRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event; ``what`` is its past-tense name, ``fields`` what it carries."""

    seq: int
    at: float
    what: str
    name: str = ""
    fields: dict[str, Any] = {}


class EventsReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``next`` is the cursor for the next request; ``lost`` counts events that fell out of the ring before it."""

    events: list[EventRow]
    next: int
    lost: int = 0


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of ``doctor``. ``level``: ok, warning or error; ``advice`` says what to do."""

    level: str
    subject: str
    text: str
    advice: str = ""


class ActionRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``names`` are names or globs. ``wait``: answer when done, at most ``timeout_s`` after the request."""

    names: list[str]
    wait: bool = True
    timeout_s: float = 60.0


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one service.

    ``result`` is one of: started, already-running, starting, stopped, killed, was-not-running, stopping,
    restarted, reloaded, enabled, disabled, added, replaced, unchanged, removed, failed, timeout. ``ok`` says
    whether that is what was asked for; ``text`` is the sentence for people; ``code`` is the error code.
    """

    name: str
    result: str
    ok: bool = True
    text: str = ""
    code: str = ""
    pid: int | None = None
    log_tail: str = ""


class ActionReply(msgspec.Struct, frozen=True):
    outcomes: list[Outcome]


class AddRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``definition`` has the shape of one service's TOML file. ``replace`` allows overwriting another one."""

    name: str
    definition: dict[str, Any]
    start: bool = False
    replace: bool = False
    timeout_s: float = 60.0


class RemoveRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``stop``: stop it first; without it a running service is refused."""

    names: list[str]
    stop: bool = False
    timeout_s: float = 60.0


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a reload's diff. ``action``: add, remove, restart, live, none, invalid."""

    name: str
    action: str
    fields: dict[str, list[Any]] = {}
    text: str = ""


class ReloadReply(msgspec.Struct, frozen=True, omit_defaults=True):
    changes: list[Change]
    outcomes: list[Outcome] = []


class ShutdownRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``all``: stop every service, dependents first, before svcmgrd ends; otherwise they stay."""

    all: bool = False
    timeout_s: float = 60.0


class ShutdownReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``stays`` are the services that go on without svcmgrd, as NAME -> pid."""

    stopped: list[Outcome] = []
    stays: dict[str, int] = {}
