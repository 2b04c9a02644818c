"""Clients and their sessions.

Theory of operation. A client extends its session with a version that grows, so that a late call of it undoes nothing;
the version of the very first call counts, too. What a client says of itself is fixed for the life of the session: who
changes it is another client with a borrowed id. Sessions live in memory and are heard again after an election.
As deepseek-ai/3FS (extendClientSession); counting the first version is ours.
"""

from __future__ import annotations

import re

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.errors import ClientSessionVersionStale, ExtendClientSessionMismatch
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import ServiceGroup
from svcmgr.services.mgmtd.states import ConfigStatus, NodeType

#: Longest client id, universal id and description, characters.
CLIENT_MAX, UNIVERSAL_ID_MAX, DESCRIPTION_MAX = 64, 255, 1000
#: Clients at once; so that a flood of ids cannot fill the memory.
SESSIONS_MAX = 100_000

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@attrs.frozen(kw_only=True)
class ClientFacts:
    """What a client says of itself, once. ``start``: of its process, UTC seconds."""

    type: NodeType
    universal_id: str = ""
    description: str = ""
    service_groups: tuple[ServiceGroup, ...] = ()
    release: str = ""
    start: float = 0.0


@attrs.frozen(kw_only=True)
class Session:
    """``seen`` is monotonic seconds; ``session_start`` and ``last_extend`` are UTC seconds."""

    client: str
    facts: ClientFacts
    version: int
    session_start: float
    last_extend: float
    seen: float
    config_version: int = 0
    config_status: ConfigStatus = ConfigStatus.NORMAL


@attrs.frozen(kw_only=True)
class Extension:
    """A call of a client."""

    client: str
    facts: ClientFacts
    version: int
    config_version: int = 0
    config_status: ConfigStatus = ConfigStatus.NORMAL


def check(asked: Extension, *, uuid_only: bool) -> None:
    """What can be said without knowing the session.

    Raises:
        BadInput: an empty or long id, or one that is no UUID where ``uuid_only``; another type than CLIENT or FUSE; a
            version out of range; long or unprintable texts.
    """
    name = asked.client
    if not 0 < len(name) <= CLIENT_MAX or _UNPRINTABLE.search(name):
        raise BadInput(f"cannot use {name[:40]!r} as id of a client: give 1 to {CLIENT_MAX} printable characters")
    if uuid_only and not _UUID.fullmatch(name):
        raise BadInput(f"cannot use {name[:40]!r} as id of a client: give a UUID")
    if asked.facts.type not in (NodeType.CLIENT, NodeType.FUSE):
        raise BadInput(f"cannot extend a session of type {asked.facts.type.name}: give CLIENT or FUSE")
    ids.HEARTBEAT_VERSION.check(asked.version)
    for text, most, what in (
        (asked.facts.universal_id, UNIVERSAL_ID_MAX, "universal id"),
        (asked.facts.description, DESCRIPTION_MAX, "description"),
        (asked.facts.release, UNIVERSAL_ID_MAX, "release"),
    ):
        if len(text) > most or _UNPRINTABLE.search(text):
            raise BadInput(f"cannot use {text[:40]!r} as {what} of a client: give at most {most} printable characters")


def extend(session: Session | None, asked: Extension, now: Moment) -> Session:
    """The session after this call.

    Raises:
        ClientSessionVersionStale: the version is not above that of the last call.
        ExtendClientSessionMismatch: the client says something else of itself than before.
    """
    start = now.utc
    if session is not None:
        if asked.version <= session.version:
            raise ClientSessionVersionStale(
                f"cannot extend session {asked.client} with version {asked.version}: the last was {session.version}; "
                "count on from there",
                version=session.version,
            )
        _same_client(session, asked)
        start = session.session_start
    return Session(
        client=asked.client,
        facts=asked.facts,
        version=asked.version,
        session_start=start,
        last_extend=now.utc,
        seen=now.monotonic,
        config_version=asked.config_version,
        config_status=asked.config_status,
    )


def _same_client(session: Session, asked: Extension) -> None:
    for field in attrs.fields(ClientFacts):
        if getattr(session.facts, field.name) != getattr(asked.facts, field.name):
            raise ExtendClientSessionMismatch(
                f"cannot extend session {asked.client}: its {field.name} is not what it was; close it, or take another "
                "id",
                field=field.name,
            )


def expired(session: Session, timeout_s: float, now: Moment) -> bool:
    """Whether it was not extended for longer than ``timeout_s`` seconds."""
    return now.monotonic - session.seen > timeout_s
