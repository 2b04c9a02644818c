"""What a cluster has, as lines of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from svcmgr.cli.mgmtd_objects import moment
from svcmgr.cli.render import Column, size
from svcmgr.cli.rows import seconds_only
from svcmgr.services.mgmtd.wire import ChainInfo, ChainTargetInfo, NodeInfo, SessionInfo, TableInfo, Tag, TargetInfo

NODE_COLUMNS = (
    Column("NODE", right=True),
    Column("TYPE"),
    Column("STATUS"),
    Column("HOSTNAME", 2),
    Column("PID", 6, right=True),
    Column("TAGS", 3),
    Column("LAST HEARTBEAT", 4),
    Column("CONFIG", 5),
    Column("RELEASE", 7),
)
CHAIN_COLUMNS = (
    Column("CHAIN", right=True),
    Column("TABLES", 3),
    Column("VERSION", 2, right=True),
    Column("STATUS"),
    Column("PREFERRED", 4),
    Column("TARGETS, HEAD FIRST"),
)
TABLE_COLUMNS = (
    Column("TABLE", right=True),
    Column("VERSION", right=True),
    Column("CHAINS", right=True),
    Column("REPLICAS", right=True),
    Column("DESCRIPTION", 2),
)
TARGET_COLUMNS = (
    Column("TARGET", right=True),
    Column("CHAIN", right=True),
    Column("ROLE", 4),
    Column("PUBLIC"),
    Column("LOCAL"),
    Column("NODE", 1, right=True),
    Column("DISK", 3, right=True),
    Column("USED", 2, right=True),
    Column("SPACE", 5),
)
ORPHAN_COLUMNS = tuple(column for column in TARGET_COLUMNS if column.title not in ("CHAIN", "ROLE", "PUBLIC"))
SESSION_COLUMNS = (
    Column("CLIENT"),
    Column("TYPE", 3),
    Column("HOST"),
    Column("CLIENT START", 8),
    Column("SESSION START", 5),
    Column("LAST EXTEND", 1),
    Column("CONFIG", 4),
    Column("DESCRIPTION", 7),
    Column("TAGS", 2),
    Column("RELEASE", 9),
)


def short_moment(utc: float) -> str:
    """A moment for a column; empty when there is none."""
    text = moment(utc)
    return seconds_only(text) if text else ""


def tag_words(tags: Iterable[Tag]) -> str:
    """``Disable TrafficZone=z1``."""
    return " ".join(f"{tag.key}={tag.value}" if tag.value else tag.key for tag in tags)


def config_words(version: int, status: str, newest: int) -> str:
    """``3(UPTODATE)`` for one that is the newest and in force, ``3(DIRTY)`` or ``3(FAILED)``; an old one is bare."""
    if version < newest or not version:
        return str(version)
    return f"{version}({'UPTODATE' if status == 'NORMAL' else status})"


def node_cells(node: NodeInfo, newest: Mapping[str, int]) -> list[str]:
    """One line in the order of NODE_COLUMNS; ``newest``: the newest config version of each type."""
    app = node.app
    return [
        str(app.node),
        node.type,
        node.status,
        app.hostname,
        str(app.pid or ""),
        tag_words(node.tags),
        short_moment(node.last_heartbeat),
        config_words(node.config_version, node.config_status, newest.get(node.type, 0)),
        app.release,
    ]


def target_words(target: ChainTargetInfo) -> str:
    """``21(SERVING-UPTODATE)``."""
    return f"{target.target}({target.public}-{target.local})"


def numbers(ids: Iterable[int]) -> str:
    """``1,2,3``."""
    return ",".join(map(str, ids))


def chain_cells(chain: ChainInfo) -> list[str]:
    """One line in the order of CHAIN_COLUMNS."""
    return [
        str(chain.chain),
        numbers(chain.tables),
        str(chain.version),
        chain.status,
        numbers(chain.preferred),
        " ".join(map(target_words, chain.targets)),
    ]


def chain_words(chain: ChainInfo) -> str:
    """``chain 9: version 4, SERVING(2/3): 21(SERVING-UPTODATE) ...``, after it was changed."""
    targets = " ".join(map(target_words, chain.targets)) or "no targets"
    preferred = f"; preferred order {numbers(chain.preferred)}" if chain.preferred else ""
    return f"chain {chain.chain}: version {chain.version}, {chain.status}: {targets}{preferred}"


def table_cells(table: TableInfo) -> list[str]:
    """One line in the order of TABLE_COLUMNS."""
    return [str(table.table), str(table.version), str(len(table.chains)), str(table.replicas), table.desc]


def target_cells(target: TargetInfo) -> list[str]:
    """One line in the order of TARGET_COLUMNS."""
    own = orphan_cells(target)
    return [own[0], str(target.chain or ""), target.role, target.public, *own[1:]]


def orphan_cells(target: TargetInfo) -> list[str]:
    """One line in the order of ORPHAN_COLUMNS."""
    return [
        str(target.target),
        target.local,
        "" if target.node is None else str(target.node),
        "" if target.disk is None else str(target.disk),
        size(target.used),
        "low" if target.low_space else "",
    ]


def session_cells(session: SessionInfo, newest: Mapping[str, int]) -> list[str]:
    """One line in the order of SESSION_COLUMNS."""
    return [
        session.client,
        session.type,
        session.universal_id,
        short_moment(session.start),
        short_moment(session.session_start),
        short_moment(session.last_extend),
        config_words(session.config_version, session.config_status, newest.get(session.type, 0)),
        session.description,
        tag_words(session.tags),
        session.release,
    ]
