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
======================  ======  =====================  ===================  ============================================
"""

from __future__ import annotations

from typing import Any

import msgspec


class ClusterRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    cluster: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version``: the routing version when it was given. ``node``: who answered."""

    epoch: int
    version: int
    node: int
    result: Any


# --- nodes -----------------------------------------------------------------------------------------------------


class Tag(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str
    value: str = ""


class EndpointInfo(msgspec.Struct, frozen=True):
    transport: str
    address: str


class ServiceGroupInfo(msgspec.Struct, frozen=True):
    services: list[str]
    endpoints: list[EndpointInfo]


class AppInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process says of itself. ``incarnation`` is drawn anew at each of its starts."""

    node: int
    incarnation: str = ""
    hostname: str = ""
    pid: int = 0
    services: list[ServiceGroupInfo] = []
    release: str = ""
    podname: str = ""


class NodeInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    app: AppInfo
    type: str
    status: str
    last_heartbeat: float = 0.0
    tags: list[Tag] = []
    config_version: int = 0
    config_status: str = "NORMAL"


class PrimaryRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    cluster: str = ""


class PrimaryInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``node`` 0: nobody is. ``last`` is the last owner of an expired lease; ``addresses`` those of the primary."""

    node: int = 0
    addresses: list[str] = []
    last: int = 0


class NodeRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    node: int
    cluster: str = ""
    dry_run: bool = False


class RegisterNodeRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    node: int
    type: str
    cluster: str = ""
    dry_run: bool = False


class DisableNodeRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``now``: its targets are taken for dead at once instead of after the heartbeat's fail interval."""

    node: int
    now: bool = False
    cluster: str = ""
    dry_run: bool = False


class SetTagsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``mode``: REPLACE, UPSERT or REMOVE. ``step_down`` allows to disable the primary itself."""

    node: int
    tags: list[Tag]
    mode: str = "UPSERT"
    step_down: bool = False
    cluster: str = ""
    dry_run: bool = False


class NodesRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Empty fields select everything; ``zones`` as spec: names with commas or blanks between."""

    ids: list[int] = []
    types: list[str] = []
    statuses: list[str] = []
    zones: str = ""
    active: bool = False
    cluster: str = ""


class NodesReply(msgspec.Struct, frozen=True):
    nodes: list[NodeInfo]


# --- heartbeats ------------------------------------------------------------------------------------------------


class LocalTargetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target as its node sees it. ``chain_version``: what the node last saw, 0 when it does not know."""

    target: int
    state: str
    chain_version: int = 0
    disk: int | None = None
    used: int = 0
    low_space: bool = False


class HeartbeatRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version`` grows with each heartbeat of one process. ``targets`` for STORAGE nodes only."""

    app: AppInfo
    type: str
    version: int
    timestamp: float
    config_version: int = 0
    config_status: str = "NORMAL"
    targets: list[LocalTargetInfo] = []
    cluster: str = ""


class HeartbeatReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``config``: newer than the node's, if there is one for it. ``interval_s``: when to send the next."""

    config: ConfigInfo | None = None
    interval_s: float = 10.0


class LeaveRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    app: AppInfo
    cluster: str = ""


# --- chains ----------------------------------------------------------------------------------------------------


class ChainTargetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    target: int
    public: str
    local: str = "OFFLINE"
    node: int | None = None


class ChainInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``status``: SERVING, SERVING(k/n), SYNCING, UNAVAILABLE or CREATED. ``tables``: those that name it."""

    chain: int
    version: int
    status: str
    targets: list[ChainTargetInfo]
    preferred: list[int] = []
    tables: list[int] = []


class ChainSettingInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int
    targets: list[int]
    keep_order: bool = False


class SetChainsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chains: list[ChainSettingInfo]
    cluster: str = ""
    dry_run: bool = False


class ChainRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int
    cluster: str = ""


class ChainsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``table`` 0: all chains. ``version`` 0: the newest of the table."""

    ids: list[int] = []
    table: int = 0
    version: int = 0
    cluster: str = ""


class ChainsReply(msgspec.Struct, frozen=True):
    chains: list[ChainInfo]


class SetTableRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    table: int
    chains: list[int]
    desc: str = ""
    cluster: str = ""
    dry_run: bool = False


class TableInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    table: int
    version: int
    chains: list[int]
    replicas: int = 0
    desc: str = ""


class TablesRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version``: 0 the newest, -1 all."""

    table: int = 0
    version: int = 0
    cluster: str = ""


class TablesReply(msgspec.Struct, frozen=True):
    tables: list[TableInfo]


class UpdateChainRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``mode``: ADD or REMOVE."""

    chain: int
    target: int
    mode: str
    cluster: str = ""
    dry_run: bool = False


class RotateRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``force``: although the redundancy drops below what the guard allows."""

    chain: int
    force: bool = False
    cluster: str = ""
    dry_run: bool = False


class PreferRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int
    order: list[int]
    cluster: str = ""
    dry_run: bool = False


class Explanation(msgspec.Struct, frozen=True):
    """``lines``: one sentence for each target, and what would move it."""

    chain: ChainInfo
    lines: list[str]


class TargetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``role``: HEAD, MIDDLE or TAIL by position; "" for an orphan, which has no chain."""

    target: int
    public: str = ""
    local: str = "OFFLINE"
    chain: int = 0
    role: str = ""
    node: int | None = None
    disk: int | None = None
    used: int = 0
    low_space: bool = False


class TargetsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    chain: int = 0
    node: int = 0
    cluster: str = ""


class TargetsReply(msgspec.Struct, frozen=True):
    targets: list[TargetInfo]


# --- routing ---------------------------------------------------------------------------------------------------


class RoutingRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version``: what the caller has; 0: nothing yet."""

    version: int = 0
    cluster: str = ""


class Routing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything a client needs to find data. ``digest``: of all entities, to compare after deltas were applied."""

    version: int
    digest: str
    nodes: list[NodeInfo]
    chains: list[ChainInfo]
    tables: list[TableInfo]
    targets: list[TargetInfo]
    bootstrapping: bool = False


class RoutingReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``routing`` None: the caller has the newest."""

    routing: Routing | None = None


class WatchRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Changes with a version above ``version``; waits ``wait_s`` for the first. ``kinds``: nodes, chains, tables,
    targets; empty means all.
    """

    version: int
    kinds: list[str] = []
    wait_s: float = 30.0
    cluster: str = ""


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """From the version asked for to ``version``: what is new or different, and the ids of what is gone."""

    version: int
    digest: str
    nodes: list[NodeInfo] = []
    chains: list[ChainInfo] = []
    tables: list[TableInfo] = []
    targets: list[TargetInfo] = []
    gone: dict[str, list[int]] = {}


class WatchReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``resync``: the version asked for is older than what is remembered, or not of this cluster's history."""

    delta: Delta | None = None
    resync: bool = False


# --- configuration ---------------------------------------------------------------------------------------------


class ConfigInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of the configuration of a node type; ``content`` is TOML. Version 0 is the empty one."""

    type: str
    version: int
    content: str = ""
    desc: str = ""
    author: str = ""
    time: float = 0.0
    hash: str = ""
    origin: str = ""


class SetConfigRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``force``: store it although it is the same as the newest."""

    type: str
    content: str
    desc: str = ""
    author: str = ""
    force: bool = False
    cluster: str = ""
    dry_run: bool = False


class ConfigRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``exact``: that very version. Otherwise the newest, if it is newer than ``version``."""

    type: str
    version: int = 0
    exact: bool = False
    cluster: str = ""


class ConfigVersionsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``type`` "": the newest version of each type; else all versions of that one, without content."""

    type: str = ""
    cluster: str = ""


class ConfigVersions(msgspec.Struct, frozen=True):
    versions: list[ConfigInfo]


class RollbackRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    version: int
    author: str = ""
    cluster: str = ""
    dry_run: bool = False


# --- clients ---------------------------------------------------------------------------------------------------


class SessionRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``version`` grows with each call of one client. ``type``: CLIENT or FUSE. ``start``: of the client's process."""

    client: str
    version: int
    type: str = "CLIENT"
    universal_id: str = ""
    description: str = ""
    services: list[ServiceGroupInfo] = []
    release: str = ""
    start: float = 0.0
    config_version: int = 0
    config_status: str = "NORMAL"
    cluster: str = ""


class SessionReply(msgspec.Struct, frozen=True, omit_defaults=True):
    config: ConfigInfo | None = None
    tags: list[Tag] = []


class CloseSessionRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    client: str
    cluster: str = ""


class SessionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    client: str
    type: str
    universal_id: str
    start: float
    session_start: float
    last_extend: float
    description: str = ""
    release: str = ""
    config_version: int = 0
    config_status: str = "NORMAL"
    tags: list[Tag] = []


class SessionsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    client: str = ""
    cluster: str = ""


class SessionsReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``bootstrapping``: this primary is new; a session that is not here may still come back."""

    sessions: list[SessionInfo]
    bootstrapping: bool = False


class HostTagsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    universal_id: str
    cluster: str = ""


class SetHostTagsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    universal_id: str
    tags: list[Tag]
    mode: str = "UPSERT"
    cluster: str = ""
    dry_run: bool = False


class HostTags(msgspec.Struct, frozen=True):
    universal_id: str
    tags: list[Tag]


# --- the daemon itself -----------------------------------------------------------------------------------------


class EventsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind``: node, chain, config, lease or "" for all; ``id``: of that kind. ``since``: a sequence number."""

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
