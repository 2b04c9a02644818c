"""The event log, the lease and the store."""

from __future__ import annotations

from typing import Any

import msgspec


class EventsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind``: node, chain, table, config, host, lease or "" for all; ``id``: of that kind, all its versions if it has
    some. ``since``: a sequence number.
    """

    kind: str = ""
    id: str = ""
    since: int = 0
    limit: int = 1000
    wait_s: float = 0.0
    cluster: str = ""


class EventInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change: what, why, and by whom. ``cause``: heartbeat, timeout, operation, election, schedule."""

    seq: int
    at: float
    kind: str
    id: str
    what: str
    cause: str = ""
    by: str = ""
    version: int = 0
    old: Any = None
    new: Any = None


class EventsReply(msgspec.Struct, frozen=True, omit_defaults=True):
    events: list[EventInfo]
    next: int
    lost: int = 0


class LeaseInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``owner`` 0: nobody. ``remaining_s``: as this mgmtd measures it, without anybody's date."""

    owner: int
    epoch: int
    start: float = 0.0
    remaining_s: float = 0.0
    trusted: bool = False
    loading: bool = False
    release: str = ""
    hostname: str = ""


class ReleaseLeaseRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``force``: also when another mgmtd holds it, which may still believe so until it asks the store."""

    force: bool = False
    cluster: str = ""


class FsckFinding(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str
    problem: str
    quarantined: bool = False


class FsckReply(msgspec.Struct, frozen=True):
    checked: int
    findings: list[FsckFinding]


class ExportRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``path``: absolute, of a file that does not exist yet."""

    path: str
    cluster: str = ""


class ExportReply(msgspec.Struct, frozen=True):
    """``bytes``: the size of the file."""

    path: str
    records: int
    bytes: int
