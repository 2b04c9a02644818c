"""Operations of clients and on their hosts: sessions and universal tags."""

from __future__ import annotations

from typing import Any

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import infos, wire
from svcmgr.services.mgmtd.changes import Cause, Change, Kind
from svcmgr.services.mgmtd.errors import ClientSessionNotFound
from svcmgr.services.mgmtd.ops import configs
from svcmgr.services.mgmtd.ops.base import Decision, Given, Mutation, Query, Scope
from svcmgr.services.mgmtd.sessions import SESSIONS_MAX, ClientFacts, Extension, Session, check, extend
from svcmgr.services.mgmtd.states import ConfigStatus, NodeType, TagMode, from_word
from svcmgr.services.mgmtd.store import keys
from svcmgr.services.mgmtd.tags import set_tags


def info_of(given: Given, session: Session) -> wire.SessionInfo:
    """With the tags of its host."""
    facts = session.facts
    return wire.SessionInfo(
        session.client,
        facts.type.name,
        facts.universal_id,
        facts.start,
        session.session_start,
        session.last_extend,
        facts.description,
        facts.release,
        session.config_version,
        session.config_status.name,
        infos.tags(given.cluster.hosts.get(facts.universal_id, ())),
    )


def _extension(request: wire.SessionRequest) -> Extension:
    facts = ClientFacts(
        type=from_word(NodeType, request.type),
        universal_id=request.universal_id,
        description=request.description,
        service_groups=infos.groups(request.services),
        release=request.release,
        start=request.start,
    )
    status = from_word(ConfigStatus, request.config_status)
    return Extension(
        client=request.client,
        facts=facts,
        version=request.version,
        config_version=request.config_version,
        config_status=status,
    )


class ExtendSession(Mutation):
    verb = "extend-session"
    request = wire.SessionRequest
    scope = Scope.NODE

    def check(self, request: wire.SessionRequest) -> None:
        check(_extension(request), uuid_only=False)

    def decide(self, given: Given, request: wire.SessionRequest) -> Decision:
        asked = _extension(request)
        check(asked, uuid_only=given.settings.only_accept_client_uuid)
        cluster = given.cluster
        config = configs.offer(cluster, asked.facts.type, asked.config_version)
        old = cluster.sessions.get(asked.client)
        if old is None and len(cluster.sessions) >= SESSIONS_MAX:
            raise BadInput(f"cannot begin session {asked.client}: there are {SESSIONS_MAX} already")
        new = extend(old, asked, given.now)
        tags = infos.tags(cluster.hosts.get(asked.facts.universal_id, ()))
        return Decision((Change(Kind.SESSION, asked.client, old, new),), wire.SessionReply(config, tags))


class CloseSession(Mutation):
    verb = "close-session"
    request = wire.CloseSessionRequest
    scope = Scope.NODE

    def decide(self, given: Given, request: wire.CloseSessionRequest) -> Decision:
        session = given.cluster.sessions.get(request.client)
        if session is None:
            raise ClientSessionNotFound(f"cannot close session {request.client[:64]!r}: there is none")
        return Decision((Change(Kind.SESSION, request.client, session, None),), info_of(given, session))


class Sessions(Query):
    verb = "sessions"
    request = wire.SessionsRequest

    def answer(self, given: Given, request: wire.SessionsRequest) -> Any:
        sessions = given.cluster.sessions
        if request.client and request.client not in sessions:
            raise ClientSessionNotFound(
                f"cannot find session {request.client[:64]!r}: there is none"
                + ("; this primary is new, it may still come" if given.bootstrapping else "")
            )
        wanted = [request.client] if request.client else sorted(sessions)
        return wire.SessionsReply([info_of(given, sessions[client]) for client in wanted], given.bootstrapping)


class SetUniversalTags(Mutation):
    verb = "set-universal-tags"
    request = wire.SetHostTagsRequest
    cause = Cause.OPERATION

    def check(self, request: wire.SetHostTagsRequest) -> None:
        keys.universal_tags(request.universal_id)
        infos.pairs(request.tags)
        from_word(TagMode, request.mode)

    def decide(self, given: Given, request: wire.SetHostTagsRequest) -> Decision:
        host = request.universal_id
        old = given.cluster.hosts.get(host, ())
        new = set_tags(old, infos.pairs(request.tags), from_word(TagMode, request.mode))
        what = f"tags [{', '.join(map(str, old))}] -> [{', '.join(map(str, new))}]"
        change = Change(Kind.HOST, host, old or None, new or None, what)
        return Decision(() if old == new else (change,), wire.HostTags(host, infos.tags(new)))


class UniversalTags(Query):
    verb = "universal-tags"
    request = wire.HostTagsRequest

    def answer(self, given: Given, request: wire.HostTagsRequest) -> Any:
        return wire.HostTags(request.universal_id, infos.tags(given.cluster.hosts.get(request.universal_id, ())))
