"""``svcmgr mgmtd routing``, ``events``, ``wait``: what is followed and waited for."""

from __future__ import annotations

import json

import pytest

from svcmgr.cli import mgmtd_wait
from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.errors import ChainNotFound
from svcmgr.services.mgmtd.wire import (
    AppInfo,
    ChainInfo,
    ChainsReply,
    ChainTargetInfo,
    Delta,
    EventInfo,
    EventsReply,
    LeaseInfo,
    NodeInfo,
    NodesReply,
    Routing,
    RoutingReply,
    TableInfo,
    TargetInfo,
    WatchReply,
)
from tests.cli.conftest import NOW

#: What ends a command that follows for ever.
END = BadInput("cannot go on: the script ends")


def chain(status, number=9):
    return ChainInfo(number, 4, status, [ChainTargetInfo(21, "SERVING", "UPTODATE")])


def node(status, number=7):
    return NodeInfo(AppInfo(number), "STORAGE", status)


def script(*answers):
    """A verb that gives one answer after the other."""
    left = list(answers)
    return lambda _request: left.pop(0)


# --- routing -----------------------------------------------------------------------------------------------


def test_routing(mgmtd, svcmgr):
    routing = Routing(42, "d1", [node("STOPPED")], [chain("SERVING")], [TableInfo(1, 1, [9])], [], bootstrapping=True)
    mgmtd.answers["routing"] = RoutingReply(routing)
    lines = svcmgr("mgmtd", "routing", "show").out.splitlines()
    assert lines[0] == "routing version 42, digest d1"
    assert lines[1:5] == ["  nodes: 1", "  chains: 1", "  tables: 1", "  targets: 0"]
    assert "new" in lines[5]
    answer = svcmgr("mgmtd", "routing", "show", "--json").json
    assert answer["routing"]["nodes"][0]["node"] == 7
    assert answer["routing"]["bootstrapping"] is True


def test_watch_begins_now_and_goes_on_from_what_it_saw(mgmtd, svcmgr):
    mgmtd.answers["lease"] = LeaseInfo(1, 5)
    delta = Delta(
        43,
        "d",
        [node("STOPPED")],
        [chain("SYNCING")],
        [TableInfo(1, 2, [9])],
        [TargetInfo(21, local="ONLINE", node=7), TargetInfo(22, "SERVING", "UPTODATE")],
        {"chains": [8]},
    )
    mgmtd.answers["watch"] = script(WatchReply(delta), WatchReply(), WatchReply(resync=True), END)
    result = svcmgr("mgmtd", "routing", "watch", "--kind", "chains", "--kind", "nodes")
    assert result.out.splitlines() == [
        "    43  node 7: STORAGE STOPPED",
        "    43  chain 9: version 4, SYNCING: 21(SERVING-UPTODATE)",
        "    43  table 1: version 2",
        "    43  target 21: in no chain-ONLINE on node 7",
        "    43  target 22: SERVING-UPTODATE",
        "    43  chain 8: gone",
        "    42  changes before this version are not known any more",
    ]
    requests = mgmtd.requests("watch")
    assert [request.version for request in requests] == [42, 43, 43, 42]
    assert requests[0].kinds == ["chains", "nodes"]
    assert requests[0].wait_s > 0


def test_watch_json_is_a_line_for_each_version(mgmtd, svcmgr):
    mgmtd.answers["watch"] = script(WatchReply(Delta(8, "d", gone={"nodes": [7]})), WatchReply(Delta(9, "e")), END)
    lines = svcmgr("mgmtd", "routing", "watch", "--since", "7", "--json").out.splitlines()
    first, second, _fault = map(json.loads, lines)
    assert (first["version"], first["gone"], first["chains"], second["version"]) == (8, {"nodes": [7]}, [], 9)
    assert [request.version for request in mgmtd.requests("watch")] == [7, 8, 9]
    assert mgmtd.requests("lease") == []


# --- events ------------------------------------------------------------------------------------------------

EVENT = EventInfo(7, NOW, "chain", "9", "status", "timeout", "node 1", 42, "SERVING", "SERVING(1/2)")


def test_events_are_read_to_their_end(mgmtd, svcmgr):
    more = EventInfo(8, NOW, "node", "7", "registered\x1b", by="root", new={"type": "META"})
    last = EventInfo(9, NOW, "lease", "", "elected")
    mgmtd.answers["events"] = script(
        EventsReply([EVENT], 7, lost=2), EventsReply([more, last], 9), EventsReply([], 9), END
    )
    result = svcmgr("mgmtd", "events", "chain", "9", "--since", "3")
    moment = "2026-01-31T08:00:00.250Z"
    assert result.out.splitlines() == [
        f"     7  {moment}  chain 9 status: SERVING -> SERVING(1/2) (timeout, node 1)",
        f'     8  {moment}  node 7 registered\\x1b: - -> {{"type":"META"}} (root)',
        f"     9  {moment}  lease  elected",
    ]
    assert "2 events" in result.err
    asked = [(one.kind, one.id, one.since, one.wait_s) for one in mgmtd.requests("events")]
    assert asked == [("chain", "9", 3, 0.0), ("chain", "9", 7, 0.0), ("chain", "9", 9, 0.0)]


def test_events_json(mgmtd, svcmgr):
    mgmtd.answers["events"] = lambda request: EventsReply([EVENT] if request.since < 7 else [], 7)
    answer = svcmgr("mgmtd", "events", "--json").json
    assert (answer["next"], answer["lost"]) == (7, 0)
    assert answer["events"] == [
        {
            "seq": 7,
            "at": "2026-01-31T08:00:00.250Z",
            "kind": "chain",
            "id": "9",
            "what": "status",
            "cause": "timeout",
            "by": "node 1",
            "version": 42,
            "old": "SERVING",
            "new": "SERVING(1/2)",
        }
    ]


def test_a_mgmtd_that_goes_back_does_not_make_us_read_for_ever(mgmtd, svcmgr):
    mgmtd.answers["events"] = EventsReply([EVENT], 0)
    assert svcmgr("mgmtd", "events").code == 0
    assert len(mgmtd.requests("events")) == 1


def test_events_are_followed_with_a_wait(mgmtd, svcmgr):
    mgmtd.answers["events"] = script(EventsReply([EVENT], 7), EventsReply([EVENT], 8), END)
    lines = svcmgr("mgmtd", "events", "config", "storage", "-f", "--json").out.splitlines()
    assert [json.loads(line)["seq"] for line in lines[:2]] == [7, 7]
    requests = mgmtd.requests("events")
    assert [(one.kind, one.id, one.since) for one in requests] == [("config", "STORAGE", n) for n in (0, 7, 8)]
    assert [one.wait_s > 0 for one in requests] == [False, True, True]


def test_an_unknown_kind_of_events(mgmtd, svcmgr):
    assert svcmgr("mgmtd", "events", "wether").code == 2


# --- wait --------------------------------------------------------------------------------------------------


def test_wait_asks_for_the_change_after_what_it_saw(mgmtd, svcmgr):
    def change(_request):
        mgmtd.version += 1
        return WatchReply()

    mgmtd.answers["chains"] = script(*(ChainsReply([chain(one)]) for one in ("SYNCING", "SERVING(1/2)", "SERVING")))
    mgmtd.answers["watch"] = change
    result = svcmgr("mgmtd", "wait", "chain", "9")
    assert (result.code, result.out) == (0, "chain 9 serving\n")
    assert [request.ids for request in mgmtd.requests("chains")] == [[9]] * 3
    assert [(request.version, request.kinds) for request in mgmtd.requests("watch")] == [
        (42, ["chains"]),
        (43, ["chains"]),
    ]
    assert all(0 < request.wait_s <= 30 for request in mgmtd.requests("watch"))


@pytest.mark.parametrize(
    ("status", "state", "done"),
    [
        ("SERVING", "serving", True),
        ("SERVING(1/2)", "serving", False),
        ("SYNCING", "serving", False),
        ("SERVING(1/2)", "available", True),
        ("SYNCING", "available", True),
        ("SERVING", "available", True),
        ("UNAVAILABLE", "available", False),
        ("CREATED", "available", False),
        ("UNAVAILABLE", "unavailable", True),
        ("SERVING", "unavailable", False),
        ("SERVINGX", "serving", False),
    ],
)
def test_what_a_chain_counts_as(status, state, done):
    assert mgmtd_wait.is_chain(chain(status), state) is done


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["chain", "9"], ["chain 9 is SYNCING"]),
        (["node", "7", "8"], ["node 7 is HEARTBEAT_FAILED", "node 8 is not there"]),
        (["all-serving"], ["chain 9 is SYNCING"]),
    ],
)
def test_a_wait_that_takes_too_long_says_for_what(mgmtd, svcmgr, args, words):
    mgmtd.answers["chains"] = ChainsReply([chain("SYNCING")])
    mgmtd.answers["nodes"] = NodesReply([node("HEARTBEAT_FAILED")])
    result = svcmgr("mgmtd", "wait", *args, "--timeout", "0")
    assert (result.code, result.out) == (5, "")
    for word in words:
        assert word in result.err
    assert svcmgr("mgmtd", "wait", *args, "--timeout", "0", "--json").json["error"]["code"] == "timeout"


def test_a_chain_that_does_not_exist_is_not_waited_for(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainNotFound("cannot find chain 9: there is none; set it first")
    result = svcmgr("mgmtd", "wait", "chain", "9", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "chain-not-found")


def test_a_wait_for_many_names_few(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainsReply([chain("SYNCING", number) for number in range(1, 101)])
    result = svcmgr("mgmtd", "wait", "all-serving", "--timeout", "0")
    assert "chain 5 is SYNCING and 95 more" in result.err


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("HEARTBEAT_CONNECTED", "connected"),
        ("PRIMARY_MGMTD", "connected"),
        ("HEARTBEAT_FAILED", "failed"),
        ("DISABLED", "disabled"),
        ("STOPPED", "stopped"),
    ],
)
def test_nodes_are_waited_for(mgmtd, svcmgr, status, state):
    mgmtd.answers["nodes"] = NodesReply([node(status)])
    assert svcmgr("mgmtd", "wait", "node", "7", "--state", state).out == f"node 7 {state}\n"
    answer = svcmgr("mgmtd", "wait", "node", "7", "7", "--state", state, "--json").json
    assert answer == {"epoch": 5, "version": 42, "reached": f"2 nodes {state}"}


def test_all_serving_of_a_table(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainsReply([])
    assert svcmgr("mgmtd", "wait", "all-serving", "--table", "3").code == 0
    assert [request.table for request in mgmtd.requests("chains")] == [3]
