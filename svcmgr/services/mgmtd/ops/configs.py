"""Operations on the configurations of node types."""

from __future__ import annotations

from typing import Any

import msgspec

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.changes import Change, Kind
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.config import document
from svcmgr.services.mgmtd.config.checking import check_content
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.history import History
from svcmgr.services.mgmtd.config.own import MGMTD
from svcmgr.services.mgmtd.config.schema import Schema
from svcmgr.services.mgmtd.config.template import cut
from svcmgr.services.mgmtd.config.version import ConfigVersion, Proposal
from svcmgr.services.mgmtd.nodes import Node
from svcmgr.services.mgmtd.ops.base import Decision, Given, Mutation, Query
from svcmgr.services.mgmtd.states import NodeType, from_word

#: What may be in a configuration, where that is known here. The others are read by their nodes alone.
SCHEMAS: dict[NodeType, Schema] = {NodeType.MGMTD: MGMTD}


def info_of(type_: NodeType, config: ConfigVersion, *, content: bool = True) -> wire.ConfigInfo:
    """As it is told; without the text where many are listed."""
    return wire.ConfigInfo(
        type_.name,
        config.version,
        config.content if content else "",
        config.desc,
        config.author,
        config.created,
        config.hash,
        config.origin,
    )


def offer(cluster: Cluster, type_: NodeType, version: int, node: Node | None = None) -> wire.ConfigInfo | None:
    """What somebody with this version should take over; None when he has the newest.

    A template becomes the text for ``node``; its hash stays that of the version. A node that the template does not fit
    is offered nothing: it keeps what it has, and is shown as STALE.

    Raises:
        InvalidConfigVersion: he claims a version that was never made.
    """
    found = cluster.configs[type_].newer(version)
    if found is None:
        return None
    info = info_of(type_, found)
    if node is None or (template := cut(found.content)).plain:
        return info
    try:
        return msgspec.structs.replace(info, content=template.render(_facts(node)))
    except InvalidConfig:
        return None


def _facts(node: Node) -> Facts:
    tags = {tag.key: tag.value for tag in node.tags}
    return Facts(node.node_id, node.app.hostname, node.type.name.lower(), tags)


def _grown(type_: NodeType, old: History, new: History) -> Decision:
    """The change from one history to the next."""
    config = new.newest
    what = f"version {config.version}" + (f", {config.origin}" if config.origin else "")
    change = Change(Kind.CONFIG, (type_.name, config.version), None, config, what)
    return Decision(() if new == old else (change,), info_of(type_, config))


class SetConfig(Mutation):
    verb = "set-config"
    request = wire.SetConfigRequest

    def check(self, request: wire.SetConfigRequest) -> None:
        proposal = Proposal(request.content, request.author, request.desc)
        if (schema := SCHEMAS.get(from_word(NodeType, request.type))) is not None:
            check_content(proposal.content, schema)
        elif cut(proposal.content).plain:
            document.read(proposal.content)

    def decide(self, given: Given, request: wire.SetConfigRequest) -> Decision:
        type_ = from_word(NodeType, request.type)
        old = given.cluster.configs[type_]
        proposal = Proposal(request.content, request.author, request.desc)
        return _grown(type_, old, old.set(proposal, given.now.utc, force=request.force))


class RollbackConfig(Mutation):
    verb = "rollback-config"
    request = wire.RollbackRequest

    def decide(self, given: Given, request: wire.RollbackRequest) -> Decision:
        type_ = from_word(NodeType, request.type)
        old = given.cluster.configs[type_]
        return _grown(type_, old, old.rollback(request.version, request.author, given.now.utc))


class GetConfig(Query):
    """A version that is not there is an error where it was asked for exactly; having the newest is not."""

    verb = "config"
    request = wire.ConfigRequest

    def answer(self, given: Given, request: wire.ConfigRequest) -> Any:
        type_ = from_word(NodeType, request.type)
        history = given.cluster.configs[type_]
        if request.version < 0:
            raise BadInput(f"cannot find configuration version {request.version}: give 0 or more")
        if request.exact:
            return info_of(type_, history.need(request.version))
        return offer(given.cluster, type_, request.version)


class GetConfigVersions(Query):
    verb = "config-versions"
    request = wire.ConfigVersionsRequest

    def answer(self, given: Given, request: wire.ConfigVersionsRequest) -> Any:
        configs = given.cluster.configs
        if not request.type:
            newest = [info_of(type_, configs[type_].newest, content=False) for type_ in NodeType]
            return wire.ConfigVersions(newest)
        type_ = from_word(NodeType, request.type)
        return wire.ConfigVersions([info_of(type_, one, content=False) for one in configs[type_].versions])
