"""What mgmtd and its clients say to each other. Times are UTC seconds since the epoch, durations seconds, sizes bytes.

Every request carries the cluster's id in ``cluster``; "" means whatever cluster this is, which only the local socket
accepts. Every answer is an :class:`Answer`: the epoch of the lease that it was given under, which a client compares
with the highest it saw, and the result. States, types and statuses travel as words (:mod:`states`), in upper case.

Requests that change something have ``dry_run``: the answer then is what would be, nothing is stored, no version moves.

======================  ======  =====================  ===================  ============================================
verb                    access  request                result               what it does
======================  ======  =====================  ===================  ============================================
primary                 read    PrimaryRequest         PrimaryInfo          who is primary; every mgmtd answers it
heartbeat               node    HeartbeatRequest       HeartbeatReply       a node lives, and what its targets are
leave                   node    LeaveRequest           NodeInfo             a node says goodbye; its chains switch
register-node           admin   RegisterNodeRequest    NodeInfo             a node may join
unregister-node         admin   NodeRequest            NodeInfo             forget one that is disabled or failed
enable-node             admin   NodeRequest            NodeInfo             take away the tag Disable
disable-node            admin   DisableNodeRequest     NodeInfo             set the tag Disable
set-node-tags           admin   SetTagsRequest         NodeInfo             REPLACE, UPSERT or REMOVE tags
nodes                   read    NodesRequest           NodesReply           nodes, by selector
routing                 read    RoutingRequest         RoutingReply         all, or nothing new
watch                   read    WatchRequest           WatchReply           changes after a version; may wait
set-chains              admin   SetChainsRequest       ChainsReply          make chains, all or none
set-chain-table         admin   SetTableRequest        TableInfo            a new version, unless it is the same
update-chain            admin   UpdateChainRequest     ChainInfo            add or remove one target
rotate-lastsrv          admin   RotateRequest          ChainInfo            give up on the last server
rotate-preferred        admin   RotateRequest          ChainInfo            one step towards the preferred order
set-preferred-order     admin   PreferRequest          ChainInfo            another wish
chains                  read    ChainsRequest          ChainsReply          chains, by id or table
chain-tables            read    TablesRequest          TablesReply          tables, newest or all versions
targets                 read    TargetsRequest         TargetsReply         targets, by chain or node
orphans                 read    ClusterRequest         TargetsReply         targets that nodes report and no chain has
explain-chain           read    ChainRequest           Explanation          why each target is where it is
set-config              admin   SetConfigRequest       ConfigInfo           a new version, checked by the type's schema
config                  read    ConfigRequest          ConfigInfo           any version of a type
config-versions         read    ConfigVersionsRequest  ConfigVersions       versions by type
rollback-config         admin   RollbackRequest        ConfigInfo           an old version as a new one
extend-session          node    SessionRequest         SessionReply         a client lives
close-session           node    CloseSessionRequest    SessionInfo          a client says goodbye
sessions                read    SessionsRequest        SessionsReply        clients
set-universal-tags      admin   SetHostTagsRequest     HostTags             tags of a client host
universal-tags          read    HostTagsRequest        HostTags             the same, read
events                  read    EventsRequest          EventsReply          the durable log of changes with their causes
lease                   read    ClusterRequest         LeaseInfo            the lease as stored and as trusted
release-lease           admin   ReleaseLeaseRequest    LeaseInfo            step down; with force whoever holds it
fsck                    admin   ClusterRequest         FsckReply            check the store and quarantine what is bad
export                  admin   ExportRequest          ExportReply          all of the store, into a file of its host
======================  ======  =====================  ===================  ============================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svcmgr.services.mgmtd.wire.base import Answer as Answer
    from svcmgr.services.mgmtd.wire.base import ClusterRequest as ClusterRequest
    from svcmgr.services.mgmtd.wire.chains import ChainInfo as ChainInfo
    from svcmgr.services.mgmtd.wire.chains import ChainRequest as ChainRequest
    from svcmgr.services.mgmtd.wire.chains import ChainSettingInfo as ChainSettingInfo
    from svcmgr.services.mgmtd.wire.chains import ChainsReply as ChainsReply
    from svcmgr.services.mgmtd.wire.chains import ChainsRequest as ChainsRequest
    from svcmgr.services.mgmtd.wire.chains import ChainTargetInfo as ChainTargetInfo
    from svcmgr.services.mgmtd.wire.chains import Explanation as Explanation
    from svcmgr.services.mgmtd.wire.chains import PreferRequest as PreferRequest
    from svcmgr.services.mgmtd.wire.chains import RotateRequest as RotateRequest
    from svcmgr.services.mgmtd.wire.chains import SetChainsRequest as SetChainsRequest
    from svcmgr.services.mgmtd.wire.chains import SetTableRequest as SetTableRequest
    from svcmgr.services.mgmtd.wire.chains import TableInfo as TableInfo
    from svcmgr.services.mgmtd.wire.chains import TablesReply as TablesReply
    from svcmgr.services.mgmtd.wire.chains import TablesRequest as TablesRequest
    from svcmgr.services.mgmtd.wire.chains import TargetInfo as TargetInfo
    from svcmgr.services.mgmtd.wire.chains import TargetsReply as TargetsReply
    from svcmgr.services.mgmtd.wire.chains import TargetsRequest as TargetsRequest
    from svcmgr.services.mgmtd.wire.chains import UpdateChainRequest as UpdateChainRequest
    from svcmgr.services.mgmtd.wire.clients import CloseSessionRequest as CloseSessionRequest
    from svcmgr.services.mgmtd.wire.clients import HostTags as HostTags
    from svcmgr.services.mgmtd.wire.clients import HostTagsRequest as HostTagsRequest
    from svcmgr.services.mgmtd.wire.clients import SessionInfo as SessionInfo
    from svcmgr.services.mgmtd.wire.clients import SessionReply as SessionReply
    from svcmgr.services.mgmtd.wire.clients import SessionRequest as SessionRequest
    from svcmgr.services.mgmtd.wire.clients import SessionsReply as SessionsReply
    from svcmgr.services.mgmtd.wire.clients import SessionsRequest as SessionsRequest
    from svcmgr.services.mgmtd.wire.clients import SetHostTagsRequest as SetHostTagsRequest
    from svcmgr.services.mgmtd.wire.configs import ConfigInfo as ConfigInfo
    from svcmgr.services.mgmtd.wire.configs import ConfigRequest as ConfigRequest
    from svcmgr.services.mgmtd.wire.configs import ConfigVersions as ConfigVersions
    from svcmgr.services.mgmtd.wire.configs import ConfigVersionsRequest as ConfigVersionsRequest
    from svcmgr.services.mgmtd.wire.configs import RollbackRequest as RollbackRequest
    from svcmgr.services.mgmtd.wire.configs import SetConfigRequest as SetConfigRequest
    from svcmgr.services.mgmtd.wire.heartbeats import HeartbeatReply as HeartbeatReply
    from svcmgr.services.mgmtd.wire.heartbeats import HeartbeatRequest as HeartbeatRequest
    from svcmgr.services.mgmtd.wire.heartbeats import LeaveRequest as LeaveRequest
    from svcmgr.services.mgmtd.wire.heartbeats import LocalTargetInfo as LocalTargetInfo
    from svcmgr.services.mgmtd.wire.itself import EventInfo as EventInfo
    from svcmgr.services.mgmtd.wire.itself import EventsReply as EventsReply
    from svcmgr.services.mgmtd.wire.itself import EventsRequest as EventsRequest
    from svcmgr.services.mgmtd.wire.itself import ExportReply as ExportReply
    from svcmgr.services.mgmtd.wire.itself import ExportRequest as ExportRequest
    from svcmgr.services.mgmtd.wire.itself import FsckFinding as FsckFinding
    from svcmgr.services.mgmtd.wire.itself import FsckReply as FsckReply
    from svcmgr.services.mgmtd.wire.itself import LeaseInfo as LeaseInfo
    from svcmgr.services.mgmtd.wire.itself import ReleaseLeaseRequest as ReleaseLeaseRequest
    from svcmgr.services.mgmtd.wire.nodes import AppInfo as AppInfo
    from svcmgr.services.mgmtd.wire.nodes import DisableNodeRequest as DisableNodeRequest
    from svcmgr.services.mgmtd.wire.nodes import EndpointInfo as EndpointInfo
    from svcmgr.services.mgmtd.wire.nodes import NodeInfo as NodeInfo
    from svcmgr.services.mgmtd.wire.nodes import NodeRequest as NodeRequest
    from svcmgr.services.mgmtd.wire.nodes import NodesReply as NodesReply
    from svcmgr.services.mgmtd.wire.nodes import NodesRequest as NodesRequest
    from svcmgr.services.mgmtd.wire.nodes import PrimaryInfo as PrimaryInfo
    from svcmgr.services.mgmtd.wire.nodes import PrimaryRequest as PrimaryRequest
    from svcmgr.services.mgmtd.wire.nodes import RegisterNodeRequest as RegisterNodeRequest
    from svcmgr.services.mgmtd.wire.nodes import ServiceGroupInfo as ServiceGroupInfo
    from svcmgr.services.mgmtd.wire.nodes import SetTagsRequest as SetTagsRequest
    from svcmgr.services.mgmtd.wire.nodes import Tag as Tag
    from svcmgr.services.mgmtd.wire.routing import Delta as Delta
    from svcmgr.services.mgmtd.wire.routing import Routing as Routing
    from svcmgr.services.mgmtd.wire.routing import RoutingReply as RoutingReply
    from svcmgr.services.mgmtd.wire.routing import RoutingRequest as RoutingRequest
    from svcmgr.services.mgmtd.wire.routing import WatchReply as WatchReply
    from svcmgr.services.mgmtd.wire.routing import WatchRequest as WatchRequest

# Loaded when first asked for: making a struct type costs half a millisecond, and a command needs a few of them.
_WHERE = {
    "Answer": "base",
    "AppInfo": "nodes",
    "ChainInfo": "chains",
    "ChainRequest": "chains",
    "ChainSettingInfo": "chains",
    "ChainTargetInfo": "chains",
    "ChainsReply": "chains",
    "ChainsRequest": "chains",
    "CloseSessionRequest": "clients",
    "ClusterRequest": "base",
    "ConfigInfo": "configs",
    "ConfigRequest": "configs",
    "ConfigVersions": "configs",
    "ConfigVersionsRequest": "configs",
    "Delta": "routing",
    "DisableNodeRequest": "nodes",
    "EndpointInfo": "nodes",
    "EventInfo": "itself",
    "EventsReply": "itself",
    "EventsRequest": "itself",
    "Explanation": "chains",
    "ExportReply": "itself",
    "ExportRequest": "itself",
    "FsckFinding": "itself",
    "FsckReply": "itself",
    "HeartbeatReply": "heartbeats",
    "HeartbeatRequest": "heartbeats",
    "HostTags": "clients",
    "HostTagsRequest": "clients",
    "LeaseInfo": "itself",
    "LeaveRequest": "heartbeats",
    "LocalTargetInfo": "heartbeats",
    "NodeInfo": "nodes",
    "NodeRequest": "nodes",
    "NodesReply": "nodes",
    "NodesRequest": "nodes",
    "PreferRequest": "chains",
    "PrimaryInfo": "nodes",
    "PrimaryRequest": "nodes",
    "RegisterNodeRequest": "nodes",
    "ReleaseLeaseRequest": "itself",
    "RollbackRequest": "configs",
    "RotateRequest": "chains",
    "Routing": "routing",
    "RoutingReply": "routing",
    "RoutingRequest": "routing",
    "ServiceGroupInfo": "nodes",
    "SessionInfo": "clients",
    "SessionReply": "clients",
    "SessionRequest": "clients",
    "SessionsReply": "clients",
    "SessionsRequest": "clients",
    "SetChainsRequest": "chains",
    "SetConfigRequest": "configs",
    "SetHostTagsRequest": "clients",
    "SetTableRequest": "chains",
    "SetTagsRequest": "nodes",
    "TableInfo": "chains",
    "TablesReply": "chains",
    "TablesRequest": "chains",
    "Tag": "nodes",
    "TargetInfo": "chains",
    "TargetsReply": "chains",
    "TargetsRequest": "chains",
    "UpdateChainRequest": "chains",
    "WatchReply": "routing",
    "WatchRequest": "routing",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{where}"), name)
    return found


def __dir__() -> list[str]:
    return list(__all__)
