"""All operations, by verb."""

from __future__ import annotations

from collections.abc import Mapping

from svcmgr.services.mgmtd.ops import chains, clients, configs, heartbeat, itself, nodes, routes, tables
from svcmgr.services.mgmtd.ops.base import Operation

_ALL: tuple[type[Operation], ...] = (
    itself.Primary,
    heartbeat.Heartbeat,
    nodes.Leave,
    nodes.RegisterNode,
    nodes.UnregisterNode,
    nodes.EnableNode,
    nodes.DisableNode,
    nodes.SetNodeTags,
    nodes.Nodes,
    routes.GetRouting,
    routes.Watch,
    chains.SetChains,
    tables.SetChainTable,
    chains.UpdateChain,
    chains.RotateLastsrv,
    chains.RotatePreferred,
    chains.SetPreferredOrder,
    chains.Chains,
    tables.ChainTables,
    chains.Targets,
    chains.Orphans,
    chains.ExplainChain,
    configs.SetConfig,
    configs.GetConfig,
    configs.GetConfigVersions,
    configs.RollbackConfig,
    clients.ExtendSession,
    clients.CloseSession,
    clients.Sessions,
    clients.SetUniversalTags,
    clients.UniversalTags,
    itself.Events,
    itself.Lease,
    itself.ReleaseLease,
    itself.Fsck,
    itself.Export,
)

OPERATIONS: Mapping[str, Operation] = {operation.verb: operation() for operation in _ALL}
