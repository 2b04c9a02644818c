"""``svcmgr mgmtd wait``: return when the cluster is as wanted.

mgmtd is asked how it is, and then for the next change of the routing after that, so nothing is missed between the two
and nobody polls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click

from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import U32_ID, asks
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_routing import WAIT_S, ask_watch
from svcmgr.cli.options import timeout_option
from svcmgr.cli.render import plural
from svcmgr.clock import SystemClock
from svcmgr.errors import DeadlineExceeded
from svcmgr.services.mgmtd.wire import ChainInfo, ChainsReply, ChainsRequest, NodesReply, NodesRequest

TABLE = {
    "chain": ("mgmtd_wait", "chain"),
    "node": ("mgmtd_wait", "node"),
    "all-serving": ("mgmtd_wait", "all_serving"),
}
#: What a chain may be waited for to be, and the statuses that are that.
CHAIN_STATES = {
    "serving": ("SERVING",),
    "available": ("SERVING", "SYNCING"),
    "unavailable": ("UNAVAILABLE",),
}
NODE_STATES = {
    "connected": ("HEARTBEAT_CONNECTED", "PRIMARY_MGMTD"),
    "failed": ("HEARTBEAT_FAILED",),
    "disabled": ("DISABLED",),
    "stopped": ("STOPPED",),
}
#: So many of those that are not as wanted are named.
_NAMED = 5

#: What is not yet as wanted, in words; empty when all is.
Look = Callable[[], list[str]]


@subgroup(
    "wait",
    TABLE,
    "svcmgr mgmtd wait all-serving --timeout 120",
    "svcmgr mgmtd wait node 10001 && svcmgr mgmtd wait chain 900100001",
)
def wait() -> None:
    """Return when chains serve, or nodes are connected."""


@asks("chain", "svcmgr mgmtd wait chain 900100001", "svcmgr mgmtd wait chain 900100001 900100002 --state available")
@click.argument("ids", nargs=-1, required=True, type=U32_ID, metavar="CHAIN...")
@click.option("--state", type=click.Choice(list(CHAIN_STATES)), default="serving", show_default=True, help="As what.")
@timeout_option
def chain(cluster: Cluster, ids: tuple[int, ...], state: str, timeout: float) -> int:
    """Wait until chains are as wanted.

    \b
    serving      all targets serve
    available    one at least serves
    unavailable  none does
    """

    def look() -> list[str]:
        found = cluster.ask("chains", ChainsRequest(list(ids)), ChainsReply).chains
        return _missing("chain", ids, {one.chain: "" if is_chain(one, state) else one.status for one in found})

    return _until(cluster, look, ["chains"], timeout, f"{_all('chain', ids)} {state}")


def is_chain(found: ChainInfo, state: str) -> bool:
    """Whether a chain is in one of CHAIN_STATES; ``SERVING(2/3)`` is available, and not serving."""
    word, some, _ = found.status.partition("(")
    return word in CHAIN_STATES[state] and not (some and state == "serving")


@asks("node", "svcmgr mgmtd wait node 10001", "svcmgr mgmtd wait node 10001 --state failed --timeout 90")
@click.argument("ids", nargs=-1, required=True, type=U32_ID, metavar="NODE...")
@click.option("--state", type=click.Choice(list(NODE_STATES)), default="connected", show_default=True, help="As what.")
@timeout_option
def node(cluster: Cluster, ids: tuple[int, ...], state: str, timeout: float) -> int:
    """Wait until nodes are as wanted.

    One that is not registered yet is waited for too.
    """

    def look() -> list[str]:
        found = cluster.ask("nodes", NodesRequest(list(ids)), NodesReply).nodes
        wanted = NODE_STATES[state]
        return _missing("node", ids, {one.app.node: "" if one.status in wanted else one.status for one in found})

    return _until(cluster, look, ["nodes"], timeout, f"{_all('node', ids)} {state}")


@asks("all-serving", "svcmgr mgmtd wait all-serving", "svcmgr mgmtd wait all-serving --table 1 --timeout 120")
@click.option("--table", type=U32_ID, metavar="TABLE", help="Only the chains of this chain table.")
@timeout_option
def all_serving(cluster: Cluster, table: int | None, timeout: float) -> int:
    """Wait until all targets of all chains serve."""

    def look() -> list[str]:
        chains = cluster.ask("chains", ChainsRequest(table=table or 0), ChainsReply).chains
        return [f"chain {one.chain} is {one.status}" for one in chains if not is_chain(one, "serving")]

    return _until(cluster, look, ["chains"], timeout, "all chains serving")


def _missing(what: str, ids: Sequence[int], other: Mapping[int, str]) -> list[str]:
    """What is not as wanted; ``other``: the status of each that is there, empty when it is as wanted."""
    words = [(one, other.get(one, "not there")) for one in ids]
    return [f"{what} {one} is {word}" for one, word in words if word]


def _all(what: str, ids: Sequence[int]) -> str:
    return f"{what} {ids[0]}" if len(ids) == 1 else plural(len(ids), what)


def _until(cluster: Cluster, look: Look, kinds: list[str], timeout: float, goal: str) -> int:
    clock = SystemClock()
    deadline = clock.monotonic() + timeout
    while missing := look():
        left = deadline - clock.monotonic()
        if left <= 0:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            named = ", ".join(missing[:_NAMED])
            raise DeadlineExceeded(
                f"cannot wait longer than {timeout:g} s for {goal}: {named}{more}; see `svcmgr mgmtd doctor`",
                missing=missing[:1000],
            )
        ask_watch(cluster, cluster.version, kinds, min(left, WAIT_S))
    return cluster.finish([goal], reached=goal)
