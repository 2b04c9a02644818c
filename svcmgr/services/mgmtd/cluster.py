"""The whole cluster as the primary knows it, in memory.

Theory of operation. Immutable values in dictionaries, and one way to change them: :meth:`Cluster.apply`. Everything
else reads. What two values say together is kept together here and nowhere else: a change of a chain changes what is
known of its targets; a change of a target makes its chain worth judging again, and is seen in its chain.

A chain holds the public states of its targets and a target its local one. :meth:`live` puts the two together, which is
what the rules of chains look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import msgspec

from svcmgr.services.mgmtd import infos
from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.changes import Change, Id, Kind, Seen, quiet, visible
from svcmgr.services.mgmtd.config.history import History as Versions
from svcmgr.services.mgmtd.contacts import Contacts
from svcmgr.services.mgmtd.faces import Faces
from svcmgr.services.mgmtd.history import History
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import Node
from svcmgr.services.mgmtd.sessions import Session
from svcmgr.services.mgmtd.states import NodeType
from svcmgr.services.mgmtd.tables import ChainTable
from svcmgr.services.mgmtd.tags import Tags
from svcmgr.services.mgmtd.targets import LocalTarget, TargetInfo

#: Node id and disk index.
Place = tuple[int, int | None]


class Cluster:
    """Empty at first; ``version`` is that of the routing information."""

    def __init__(self, version: int, began: Moment) -> None:
        self.version = version
        self.began = began
        self.nodes: dict[int, Node] = {}
        self.chains: dict[int, Chain] = {}
        self.chain_of: dict[int, int] = {}
        self.targets: dict[int, TargetInfo] = {}
        #: Where targets are, as the store has it.
        self.places: dict[int, Place] = {}
        self.tables: dict[int, dict[int, ChainTable]] = {}
        self.configs: dict[NodeType, Versions] = {type_: Versions(type_.name.lower()) for type_ in NodeType}
        self.hosts: dict[str, Tags] = {}
        self.sessions: dict[str, Session] = {}
        self.orphans: dict[int, tuple[LocalTarget, ...]] = {}
        #: When a chain became known, monotonic seconds; a chain that may be judged is not in it.
        self.births: dict[int, float] = {}
        #: Chains to judge, in the order in which something of them changed.
        self.touched: dict[int, None] = {}
        #: Targets whose place is not, or not so, in the store.
        self.moved: dict[int, None] = {}
        #: Whether a target changed since the last version, so that the next one should not wait.
        self.urgent = False
        #: How many changes were applied that are more than how full a target is.
        self.changes = 0
        self.contacts = Contacts(began)
        self.history = History(version)
        self.faces = Faces(self._look)

    # --- reading

    def live(self, chain: Chain) -> Chain:
        """The chain with what the nodes say of its targets now; the version is the same."""
        targets = self.targets
        return attrs.evolve(
            chain, targets=tuple(target.heard(targets[target.target_id].local) for target in chain.targets)
        )

    def tables_of(self, chain_id: int) -> list[int]:
        """The ids of the tables whose newest version names the chain."""
        return [id for id, versions in self.tables.items() if chain_id in versions[max(versions)].chains]

    def targets_on(self, node_id: int) -> Iterator[TargetInfo]:
        """The targets that are known to be on a node."""
        return (info for info in self.targets.values() if info.node_id == node_id)

    # --- changing

    def apply(self, changes: Iterable[Change]) -> bool:
        """Take changes over, in order; whether clients see a difference."""
        seen: dict[Seen, None] = {}
        for change in changes:
            self.changes += not quiet(change)
            if visible(change):
                seen[change.kind, change.id] = None
            _APPLY[change.kind](self, change, seen)
        self.history.note(seen)
        self.faces.mark(seen)
        return bool(seen)

    def advance(self, version: int) -> None:
        """What clients see has this version now."""
        self.version = version
        self.urgent = False
        self.history.advance(version)

    def touch_young(self, target_ids: Iterable[int]) -> None:
        """These were heard, which may be what their chains wait for though nothing of them changed."""
        if self.births:
            for target_id in target_ids:
                chain_id = self.chain_of.get(target_id)
                if chain_id in self.births:
                    self.touched[chain_id] = None

    def begin(self) -> None:
        """What is there now is what the present version says: nothing is remembered of how it came to be."""
        self.urgent = False
        self.history = History(self.version)

    def _apply_chain(self, change: Change, seen: dict[Seen, None]) -> None:
        old, new = change.old, change.new
        _put(self.chains, change.id, new)
        kept = new.target_ids if new else ()
        for target_id in old.target_ids if old else ():
            if target_id not in kept:
                del self.chain_of[target_id], self.targets[target_id]
                self.moved.pop(target_id, None)
                self.contacts.forget_target(target_id)
                seen[Kind.TARGET, target_id] = None
        same_length = old is not None and new is not None and len(old.targets) == len(new.targets)
        for place, target in enumerate(new.targets if new else ()):
            self._join(new, target.target_id, target.public)
            if not same_length or old.targets[place] != target:
                seen[Kind.TARGET, target.target_id] = None  # its state, or its role
        if new:
            self.touched[new.chain_id] = None

    def _join(self, chain: Chain, target_id: int, public: Any) -> None:
        """The target is in this public state in this chain; its local state comes from its node alone."""
        self.chain_of[target_id] = chain.chain_id
        info = self.targets.get(target_id)
        if info is None:
            self.targets[target_id] = self._newcomer(chain, target_id, public)
            self._move(target_id)
        elif info.public is not public:
            self.targets[target_id] = attrs.evolve(info, public=public)

    def _newcomer(self, chain: Chain, target_id: int, public: Any) -> TargetInfo:
        """A target new in its chain. Its place is known from the store, or from a node that told of it as an orphan."""
        node, disk = self.places.get(target_id, (None, None))
        info = TargetInfo(target_id=target_id, chain_id=chain.chain_id, public=public, node_id=node, disk_index=disk)
        for node_id, reports in self.orphans.items():
            for report in reports:
                if report.target_id == target_id:
                    rest = tuple(one for one in reports if one is not report)
                    self.orphans[node_id] = rest
                    return attrs.evolve(
                        info, node_id=node_id, disk_index=report.disk_index, used_bytes=report.used_bytes
                    )
        return info

    def _apply_target(self, change: Change, seen: dict[Seen, None]) -> None:
        info: TargetInfo = change.new
        was = self.targets.get(info.target_id)
        if was is None:
            return  # it was removed from its chain while its node told of it
        if (info.public, info.chain_id) != (was.public, was.chain_id):
            info = attrs.evolve(info, public=was.public, chain_id=was.chain_id)
        self.targets[info.target_id] = info
        if (Kind.TARGET, change.id) in seen:
            seen[Kind.CHAIN, was.chain_id] = None
            self.urgent = True
            self._move(info.target_id)
        if was.local is not info.local:
            self.touched[was.chain_id] = None

    def _move(self, target_id: int) -> None:
        info = self.targets[target_id]
        if info.node_id is not None and self.places.get(target_id) != (info.node_id, info.disk_index):
            self.moved[target_id] = None

    def _apply_place(self, change: Change, seen: dict[Seen, None]) -> None:
        _put(self.places, change.id, change.new)
        self.moved.pop(_number(change.id), None)

    def _apply_node(self, change: Change, seen: dict[Seen, None]) -> None:
        _put(self.nodes, change.id, change.new)
        if change.new is None:
            self.contacts.forget_node(change.old.node_id)
            self.orphans.pop(change.old.node_id, None)

    def _apply_table(self, change: Change, seen: dict[Seen, None]) -> None:
        table = change.new
        self.tables.setdefault(table.table_id, {})[table.version] = table

    def _apply_config(self, change: Change, seen: dict[Seen, None]) -> None:
        type_, version = NodeType[_pair(change.id)[0]], _pair(change.id)[1]
        versions = self.configs[type_]
        if change.new is None:
            self.configs[type_] = versions.without([version])
        else:
            self.configs[type_] = attrs.evolve(versions, versions=(*versions.versions, change.new))

    def _apply_birth(self, change: Change, seen: dict[Seen, None]) -> None:
        _put(self.births, change.id, change.new)
        if change.id in self.chains and change.new is None:
            self.touched[_number(change.id)] = None

    def _look(self, kind: Kind, id: Id) -> msgspec.Struct | None:
        """The Info of a thing without what changes all the time."""
        return _LOOK[kind](self, id)


def _number(id: Id) -> int:
    """An id that is one number."""
    assert isinstance(id, int)
    return id


def _pair(id: Id) -> tuple[str, int]:
    """An id that is a word and a number."""
    assert isinstance(id, tuple)
    return str(id[0]), id[1]


def _put(where: dict[Any, Any], id: Any, new: Any) -> None:
    if new is None:
        where.pop(id, None)
    else:
        where[id] = new


def _into(name: str) -> Callable[[Cluster, Change, dict[Seen, None]], None]:
    def apply(cluster: Cluster, change: Change, seen: dict[Seen, None]) -> None:
        _put(getattr(cluster, name), change.id, change.new)

    return apply


_APPLY: Mapping[Kind, Callable[[Cluster, Change, dict[Seen, None]], None]] = {
    Kind.NODE: Cluster._apply_node,
    Kind.CHAIN: Cluster._apply_chain,
    Kind.TABLE: Cluster._apply_table,
    Kind.TARGET: Cluster._apply_target,
    Kind.PLACE: Cluster._apply_place,
    Kind.CONFIG: Cluster._apply_config,
    Kind.HOST: _into("hosts"),
    Kind.SESSION: _into("sessions"),
    Kind.ORPHANS: _into("orphans"),
    Kind.BIRTH: Cluster._apply_birth,
    Kind.LEASE: lambda cluster, change, seen: None,
}


def _look_node(cluster: Cluster, id: Any) -> msgspec.Struct | None:
    node = cluster.nodes.get(id)
    if node is None:
        return None
    info = infos.node_info(node, 0.0)
    app = msgspec.structs.replace(info.app, incarnation="", pid=0, release="", podname="")
    return msgspec.structs.replace(info, app=app, config_version=0, config_status="NORMAL")


def _look_chain(cluster: Cluster, id: Any) -> msgspec.Struct | None:
    chain = cluster.chains.get(id)
    return None if chain is None else infos.chain_info(chain, cluster.targets)


def _look_table(cluster: Cluster, id: Any) -> msgspec.Struct | None:
    table = cluster.tables.get(id[0], {}).get(id[1])
    return None if table is None else infos.table_info(table, 0)


def _look_target(cluster: Cluster, id: Any) -> msgspec.Struct | None:
    target = cluster.targets.get(id)
    if target is None:
        return None
    info = infos.target_info(target, cluster.chains[target.chain_id])
    return msgspec.structs.replace(info, used=0, low_space=False)


_LOOK: Mapping[Kind, Callable[[Cluster, Any], msgspec.Struct | None]] = {
    Kind.NODE: _look_node,
    Kind.CHAIN: _look_chain,
    Kind.TABLE: _look_table,
    Kind.TARGET: _look_target,
}
