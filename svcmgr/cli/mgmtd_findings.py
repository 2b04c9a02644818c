"""What looks wrong in a cluster, and what to do about it.

Theory of operation. Each rule looks at one kind of things and makes one finding of all that have the same fault, with
their number and the first few ids, so that a cluster with a thousand broken chains is as readable as one with a single
one. An error is what clients feel: no primary, a failed node, a chain that serves nobody, a refused configuration. A
warning is what they will feel if one more thing breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from svcmgr.services.mgmtd.wire import ChainInfo, LeaseInfo, NodeInfo, TargetInfo

_NAMED = 5


class Finding(msgspec.Struct, frozen=True):
    """``level``: error or warning."""

    level: str
    subject: str
    text: str
    advice: str


def of_lease(lease: LeaseInfo) -> list[Finding]:
    """No primary, or one that is not sure of it."""
    if not lease.owner:
        return [Finding("error", "lease", "nobody holds it, so nothing is decided", "see the log of each mgmtd")]
    if lease.loading:
        text = f"node {lease.owner} is primary and still loading"
        return [Finding("warning", "lease", text, "ask again in a few seconds")]
    if not lease.trusted:
        text = f"node {lease.owner} holds it and is not sure of it: it cannot extend it"
        return [Finding("error", "lease", text, "see whether the store of mgmtd can be written: `svcmgr mgmtd fsck`")]
    return []


_NODE_RULES = {
    "HEARTBEAT_FAILED": ("error", "silent for too long", "see whether the host and its process run"),
    "HEARTBEAT_CONNECTING": ("warning", "registered, but silent since this mgmtd is primary", "start the process"),
    "DISABLED": ("warning", "disabled", "`svcmgr mgmtd nodes enable NODE` when the work is done"),
    "STOPPED": ("warning", "stopped", "start the process, or `svcmgr mgmtd nodes disable NODE`"),
}
#: Nodes that could have taken over a new configuration.
_LIVING = ("HEARTBEAT_CONNECTED", "PRIMARY_MGMTD")
_CONFIG_RULES = {
    "FAILED": ("error", "refused the configuration", "see the log of the node, then `svcmgr mgmtd config rollback`"),
    "DIRTY": ("warning", "run with another configuration than the one they were given", "restart the process"),
    "STALE": ("warning", "still run with an old configuration", "see `svcmgr mgmtd nodes list`"),
}
_CHAIN_RULES = {
    "UNAVAILABLE": ("error", "serve nobody", "`svcmgr mgmtd chains explain CHAIN` says what they wait for"),
    "SERVING(": (
        "warning",
        "serve with fewer targets than they have",
        "start the nodes of the targets that are missing",
    ),
    "SYNCING": ("warning", "are filling a target", "wait, or see `svcmgr mgmtd chains list`"),
    "CREATED": ("warning", "never served", "start the nodes of all their targets"),
}


def of_nodes(nodes: Sequence[NodeInfo], newest: Mapping[str, int]) -> list[Finding]:
    """Nodes that are away, and nodes that do not run with the ``newest`` config version of their type."""
    found = []
    for status, (level, text, advice) in _NODE_RULES.items():
        ids = [node.app.node for node in nodes if node.status == status]
        found += _one(level, "node", ids, text, advice)
    living = [(node.app.node, _config_status(node, newest)) for node in nodes if node.status in _LIVING]
    for status, (level, text, advice) in _CONFIG_RULES.items():
        found += _one(level, "node", [one for one, word in living if word == status], text, advice)
    return found


def _config_status(node: NodeInfo, newest: Mapping[str, int]) -> str:
    """What the node says, but STALE when that is about an old version."""
    old = node.config_version < newest.get(node.type, 0) and node.config_status != "FAILED"
    return "STALE" if old else node.config_status


def of_chains(chains: Sequence[ChainInfo]) -> list[Finding]:
    """Chains that do not serve as they should, and chains that no file can be in."""
    found = []
    for status, (level, text, advice) in _CHAIN_RULES.items():
        ids = [chain.chain for chain in chains if chain.status.startswith(status)]
        found += _one(level, "chain", ids, text, advice)
    alone = [chain.chain for chain in chains if not chain.tables]
    return found + _one("warning", "chain", alone, "in no chain table", "`svcmgr mgmtd tables upload`")


def of_targets(targets: Sequence[TargetInfo], orphans: Sequence[TargetInfo]) -> list[Finding]:
    """Targets without room, and targets without a chain."""
    low = [target.target for target in targets if target.low_space]
    alone = [target.target for target in orphans]
    return [
        *_one("warning", "target", low, "low on space", "add chains to the table, or free space"),
        *_one("warning", "target", alone, "reported, but in no chain", "`svcmgr mgmtd targets orphans` lists them"),
    ]


def _one(level: str, what: str, ids: Sequence[int], text: str, advice: str) -> list[Finding]:
    """One finding about all of ``ids``; none when there are none."""
    if not ids:
        return []
    subject = f"{what} {ids[0]}" if len(ids) == 1 else f"{len(ids)} {what}s"
    return [Finding(level, subject, f"{text}{_named(ids)}", advice.replace(what.upper(), str(ids[0])))]


def _named(ids: Sequence[int]) -> str:
    if len(ids) == 1:
        return ""
    more = ", ..." if len(ids) > _NAMED else ""
    return f": {', '.join(map(str, ids[:_NAMED]))}{more}"


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors before warnings, each in the order they were found."""
    return sorted(findings, key=lambda one: one.level != "error")
