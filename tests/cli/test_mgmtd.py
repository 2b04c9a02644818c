"""``svcmgr mgmtd``: what is asked of mgmtd, what is printed, the exit code, and why nobody answers."""

from __future__ import annotations

import pytest

from svcmgr.errors import LowSpace, NotPermitted, UnknownService
from svcmgr.host.wire import Exit, ServiceRow
from svcmgr.services.mgmtd import errors as refusals
from svcmgr.services.mgmtd.wire import (
    AppInfo,
    ConfigInfo,
    ConfigVersions,
    ExportReply,
    FsckFinding,
    FsckReply,
    HostTags,
    LeaseInfo,
    NodeInfo,
    NodesReply,
    PrimaryInfo,
    SessionInfo,
    SessionsReply,
    Tag,
    TargetInfo,
    TargetsReply,
)
from tests.cli.conftest import NOW

MOMENT = "2026-01-31T08:00:00.250Z"
PRIMARY = NodeInfo(AppInfo(1, "i1", "m1", 4101, release="250228-rel-1"), "MGMTD", "PRIMARY_MGMTD", config_version=1)
STORAGE = NodeInfo(
    AppInfo(10001, "i2", "s1", 9001),
    "STORAGE",
    "HEARTBEAT_CONNECTED",
    NOW,
    [Tag("TrafficZone", "z1"), Tag("old")],
    2,
    "DIRTY",
)
STORAGE_OBJECT = {
    "node": 10001,
    "type": "STORAGE",
    "status": "HEARTBEAT_CONNECTED",
    "last_heartbeat": MOMENT,
    "tags": [{"key": "TrafficZone", "value": "z1"}, {"key": "old", "value": ""}],
    "config_version": 2,
    "config_status": "DIRTY",
    "incarnation": "i2",
    "hostname": "s1",
    "pid": 9001,
    "services": [],
    "release": "",
    "podname": "",
}
WRAP = {"epoch": 5, "version": 42}

#: Each command as short as it can be, for what they have in common.
COMMANDS = [
    ["nodes", "list"],
    ["nodes", "register", "7", "storage"],
    ["nodes", "unregister", "7"],
    ["nodes", "enable", "7"],
    ["nodes", "disable", "7"],
    ["nodes", "tag", "7", "a"],
    ["chains", "list"],
    ["chains", "show", "9"],
    ["chains", "explain", "9"],
    ["chains", "set", "9", "11"],
    ["chains", "dump"],
    ["chains", "add-target", "9", "11"],
    ["chains", "remove-target", "9", "11"],
    ["chains", "prefer", "9", "11"],
    ["chains", "rotate-preferred", "9"],
    ["chains", "rotate-lastsrv", "9", "--yes"],
    ["tables", "list"],
    ["tables", "set", "1", "9"],
    ["tables", "dump", "1"],
    ["targets", "list"],
    ["targets", "orphans"],
    ["config", "get", "meta"],
    ["config", "versions"],
    ["config", "diff", "meta", "1", "2"],
    ["config", "rollback", "meta", "1"],
    ["sessions", "list"],
    ["host-tags", "show", "h"],
    ["host-tags", "set", "h", "a"],
    ["routing", "show"],
    ["routing", "watch"],
    ["lease", "show"],
    ["lease", "primary"],
    ["lease", "release"],
    ["events"],
    ["wait", "chain", "9"],
    ["wait", "node", "7"],
    ["wait", "all-serving"],
    ["doctor"],
    ["fsck"],
    ["export", "f"],
]


# --- nodes -------------------------------------------------------------------------------------------------


def test_nodes_are_a_table_sorted_by_type_and_status(mgmtd, svcmgr):
    failed = NodeInfo(AppInfo(9, hostname="s\x1b0"), "STORAGE", "HEARTBEAT_FAILED")
    mgmtd.answers["nodes"] = NodesReply([failed, STORAGE, PRIMARY])
    result = svcmgr("mgmtd", "nodes", "list")
    head, first, second, third, summary = result.out.splitlines()
    assert head.startswith(" NODE  TYPE     STATUS")
    assert first.split() == ["1", "MGMTD", "PRIMARY_MGMTD", "m1", "4101", "-", "-", "1(UPTODATE)", "250228-rel-1"]
    assert second.split()[3:] == ["s1", "9001", "TrafficZone=z1", "old", "2026-01-31T08:00:00Z", "2(DIRTY)", "-"]
    assert third.split() == ["9", "STORAGE", "HEARTBEAT_FAILED", "s\\x1b0", "-", "-", "-", "0", "-"]
    assert (result.code, summary) == (0, "3 nodes")


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [(1, "NORMAL", "1"), (2, "NORMAL", "2(UPTODATE)"), (2, "DIRTY", "2(DIRTY)"), (2, "FAILED", "2(FAILED)")],
)
def test_X03_a_config_version_says_whether_it_is_the_newest(mgmtd, svcmgr, version, status, words):
    node = NodeInfo(AppInfo(9), "STORAGE", "HEARTBEAT_CONNECTED", config_version=version, config_status=status)
    mgmtd.answers["nodes"] = NodesReply([node])
    assert words in svcmgr("mgmtd", "nodes", "list").out.splitlines()[1].split()


def test_nodes_are_selected_by_mgmtd(mgmtd, svcmgr):
    mgmtd.answers["nodes"] = NodesReply([])
    args = ["7", "8", "--type", "storage", "--type", "META", "--status", "disabled", "--zone", "z1,z2", "--active"]
    assert svcmgr("mgmtd", "nodes", "list", *args).out == "0 nodes\n"
    (request,) = mgmtd.requests("nodes")
    assert (request.ids, request.types, request.statuses) == ([7, 8], ["STORAGE", "META"], ["DISABLED"])
    assert (request.zones, request.active, request.cluster) == ("z1,z2", True, "")


def test_X06_nodes_as_json_have_all_keys(mgmtd, svcmgr):
    mgmtd.answers["nodes"] = NodesReply([STORAGE])
    assert svcmgr("mgmtd", "nodes", "list", "--json").json == {**WRAP, "nodes": [STORAGE_OBJECT]}


@pytest.mark.parametrize("moment", [1e300, -1e300, 1e18])
def test_a_moment_that_no_calendar_has_is_null(mgmtd, svcmgr, moment):
    mgmtd.answers["nodes"] = NodesReply([NodeInfo(AppInfo(9), "META", "STOPPED", moment)])
    assert svcmgr("mgmtd", "nodes", "list", "--json").json["nodes"][0]["last_heartbeat"] is None
    assert svcmgr("mgmtd", "nodes", "list").code == 0


@pytest.mark.parametrize(
    ("args", "verb", "words"),
    [
        (["register", "10001", "storage"], "register-node", "node 10001: registered as STORAGE"),
        (["unregister", "10001"], "unregister-node", "node 10001: forgotten"),
        (["enable", "10001"], "enable-node", "node 10001: HEARTBEAT_CONNECTED"),
        (["disable", "10001"], "disable-node", "node 10001: HEARTBEAT_CONNECTED"),
        (["tag", "10001", "old"], "set-node-tags", "node 10001: TrafficZone=z1 old"),
    ],
)
def test_changes_of_nodes_can_be_tried(mgmtd, svcmgr, args, verb, words):
    mgmtd.answers[verb] = STORAGE
    result = svcmgr("mgmtd", "nodes", *args)
    assert (result.code, result.out, result.err) == (0, f"{words}\n", "")
    assert svcmgr("mgmtd", "nodes", *args, "--dry-run").out == f"dry run: {words}\n"
    answer = svcmgr("mgmtd", "nodes", *args, "--json", "--dry-run").json
    assert answer == {**WRAP, "dry_run": True, "node": STORAGE_OBJECT}
    assert [request.dry_run for request in mgmtd.requests(verb)] == [False, True, True]
    assert {request.node for request in mgmtd.requests(verb)} == {10001}


def test_register_and_disable_pass_on_what_they_were_told(mgmtd, svcmgr):
    mgmtd.answers["register-node"] = mgmtd.answers["disable-node"] = STORAGE
    svcmgr("mgmtd", "nodes", "register", "10001", "Fuse")
    svcmgr("mgmtd", "nodes", "disable", "10001", "--now")
    assert mgmtd.requests("register-node")[0].type == "FUSE"
    assert mgmtd.requests("disable-node")[0].now is True


def test_tags_and_their_mode(mgmtd, svcmgr):
    mgmtd.answers["set-node-tags"] = STORAGE
    svcmgr("mgmtd", "nodes", "tag", "10001", "a", "b=1=2", "c=", "--mode", "replace", "--step-down")
    svcmgr("mgmtd", "nodes", "tag", "10001", "--mode", "replace")
    first, second = mgmtd.requests("set-node-tags")
    assert first.tags == [Tag("a"), Tag("b", "1=2"), Tag("c")]
    assert (first.mode, first.step_down) == ("REPLACE", True)
    assert (second.tags, second.step_down) == ([], False)


@pytest.mark.parametrize("tags", [[], ["=x"], [""], ["a=1", "--mode", "remove"], ["--mode", "remove"]])
def test_tags_that_mean_nothing_are_refused_before_anybody_is_asked(mgmtd, svcmgr, tags):
    assert svcmgr("mgmtd", "nodes", "tag", "10001", *tags).code == 2
    assert svcmgr("mgmtd", "host-tags", "set", "h", *tags).code == 2
    assert mgmtd.seen == []


@pytest.mark.parametrize("node", ["0", "-1", "4294967296", "x", "1.5", ""])
def test_what_is_no_node_id_is_refused(mgmtd, svcmgr, node):
    assert svcmgr("mgmtd", "nodes", "enable", "--", node).code == 2
    assert mgmtd.seen == []


# --- targets, clients, lease, store ------------------------------------------------------------------------

TARGET = TargetInfo(21, "SERVING", "UPTODATE", 9, "HEAD", 10001, 0, 3 << 30, True)
TARGET_OBJECT = {
    "target": 21,
    "public": "SERVING",
    "local": "UPTODATE",
    "chain": 9,
    "role": "HEAD",
    "node": 10001,
    "disk": 0,
    "used": 3 << 30,
    "low_space": True,
}


def test_targets(mgmtd, svcmgr):
    mgmtd.answers["targets"] = TargetsReply([TARGET, TargetInfo(22, "OFFLINE", chain=9, role="TAIL")])
    lines = svcmgr("mgmtd", "targets", "list", "--chain", "9").out.splitlines()
    assert lines[1].split() == ["21", "9", "HEAD", "SERVING", "UPTODATE", "10001", "0", "3.0", "GiB", "low"]
    assert lines[2].split() == ["22", "9", "TAIL", "OFFLINE", "OFFLINE", "-", "-", "0", "B", "-"]
    assert lines[3] == "2 targets"
    svcmgr("mgmtd", "targets", "list", "--node", "10001")
    assert [(one.chain, one.node) for one in mgmtd.requests("targets")] == [(9, 0), (0, 10001)]
    assert svcmgr("mgmtd", "targets", "list", "--json").json["targets"][0] == TARGET_OBJECT


def test_orphans(mgmtd, svcmgr):
    mgmtd.answers["orphans"] = TargetsReply([TargetInfo(99, local="ONLINE", node=7)])
    lines = svcmgr("mgmtd", "targets", "orphans").out.splitlines()
    assert lines == [
        "TARGET  LOCAL   NODE  DISK  USED  SPACE",
        "    99  ONLINE     7     -   0 B  -",
        "1 orphan",
    ]


SESSION = SessionInfo("c1", "FUSE", "h7", NOW, NOW + 1, NOW + 2, config_version=1, tags=[Tag("a", "b")])


def test_sessions(mgmtd, svcmgr):
    mgmtd.answers["sessions"] = SessionsReply([SESSION], bootstrapping=True)
    mgmtd.answers["config-versions"] = ConfigVersions([ConfigInfo("CLIENT", 9), ConfigInfo("FUSE", 1)])
    lines = svcmgr("mgmtd", "sessions", "list").out.splitlines()
    assert lines[1].split()[:3] == ["c1", "FUSE", "h7"]
    assert "1(UPTODATE)" in lines[1], "compared with the version of its own type"
    assert lines[2:] == ["1 session", "this primary is new: clients that are not listed may still come back"]
    answer = svcmgr("mgmtd", "sessions", "list", "c1", "--json").json
    assert mgmtd.requests("sessions")[1].client == "c1"
    assert answer["bootstrapping"] is True
    assert answer["sessions"][0]["start"] == MOMENT
    assert answer["sessions"][0]["tags"] == [{"key": "a", "value": "b"}]


def test_host_tags(mgmtd, svcmgr):
    mgmtd.answers["universal-tags"] = HostTags("h7", [])
    mgmtd.answers["set-universal-tags"] = HostTags("h7", [Tag("a", "b")])
    assert svcmgr("mgmtd", "host-tags", "show", "h7").out == "h7: no tags\n"
    assert svcmgr("mgmtd", "host-tags", "set", "h7", "a=b", "--dry-run").out == "dry run: h7: a=b\n"
    (request,) = mgmtd.requests("set-universal-tags")
    assert (request.universal_id, request.tags, request.mode, request.dry_run) == (
        "h7",
        [Tag("a", "b")],
        "UPSERT",
        True,
    )
    answer = svcmgr("mgmtd", "host-tags", "set", "h7", "a=b", "--json").json
    assert answer == {**WRAP, "dry_run": False, "host": "h7", "tags": [{"key": "a", "value": "b"}]}
    assert svcmgr("mgmtd", "host-tags", "show", "h7", "--json").json == {**WRAP, "host": "h7", "tags": []}


LEASE = LeaseInfo(1, 5, NOW, 41.26, trusted=True, hostname="m1")


@pytest.mark.parametrize(
    ("lease", "words"),
    [
        (
            LEASE,
            ["node 1 on m1 holds the lease, epoch 5", "since: 2026-01-31T08:00:00.250Z", "41.3s", "state: trusted"],
        ),
        (LeaseInfo(1, 5), ["not trusted"]),
        (LeaseInfo(1, 5, trusted=True, loading=True), ["loading"]),
        (LeaseInfo(0, 4), ["nobody holds the lease; the last epoch was 4"]),
    ],
)
def test_lease(mgmtd, svcmgr, lease, words):
    mgmtd.answers["lease"] = lease
    out = svcmgr("mgmtd", "lease", "show").out
    for word in words:
        assert word in out
    assert svcmgr("mgmtd", "lease", "show", "--json").json["lease"]["epoch"] == lease.epoch


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (PrimaryInfo(2, ["tcp://m2:8000"]), "node 2\n  tcp://m2:8000\n"),
        (PrimaryInfo(last=1), "nobody is primary; the last one was node 1\n"),
        (PrimaryInfo(), "nobody is primary\n"),
    ],
)
def test_who_is_primary(mgmtd, svcmgr, info, words):
    mgmtd.answers["primary"] = info
    assert svcmgr("mgmtd", "lease", "primary").out == words


def test_releasing_by_force_needs_a_word(mgmtd, svcmgr):
    mgmtd.answers["release-lease"] = LeaseInfo(0, 5)
    assert svcmgr("mgmtd", "lease", "release").out.startswith("released\n")
    refused = svcmgr("mgmtd", "lease", "release", "--force")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert svcmgr("mgmtd", "lease", "release", "--force", "--yes").code == 0
    assert [request.force for request in mgmtd.requests("release-lease")] == [False, True]


def test_fsck(mgmtd, svcmgr):
    mgmtd.answers["fsck"] = FsckReply(7, [])
    result = svcmgr("mgmtd", "fsck")
    assert (result.code, result.out) == (0, "7 records checked, 0 bad\n")
    mgmtd.answers["fsck"] = FsckReply(1, [FsckFinding("NODE/7", "not a record", True)])
    result = svcmgr("mgmtd", "fsck")
    assert (result.code, result.out) == (1, "NODE/7: not a record (set aside)\n1 record checked, 1 bad\n")
    mgmtd.answers["fsck"] = FsckReply(1, [FsckFinding("", "no lease")])
    assert svcmgr("mgmtd", "fsck").out == "no lease\n1 record checked, 1 bad\n"
    mgmtd.answers["fsck"] = FsckReply(1, [FsckFinding("NODE/7", "not a record", True)])
    assert svcmgr("mgmtd", "fsck", "--json").json == {
        **WRAP,
        "checked": 1,
        "findings": [{"key": "NODE/7", "problem": "not a record", "quarantined": True}],
    }


def test_export_names_a_path_that_mgmtd_understands(mgmtd, svcmgr, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = str(tmp_path / "f.jsonl")
    mgmtd.answers["export"] = ExportReply(file, 7, 900)
    result = svcmgr("mgmtd", "export", "./f.jsonl")
    assert (result.code, result.out) == (0, f"7 records exported to {file}, 900 bytes\n")
    assert [request.path for request in mgmtd.requests("export")] == [file]
    assert svcmgr("mgmtd", "export", file, "--json").json == {**WRAP, "path": file, "records": 7, "bytes": 900}


# --- what mgmtd refuses, and why nobody answers ------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusals.NotPrimary("cannot answer: node 2 is primary", primary=2), 1),
        (refusals.NodeNotFound("cannot find node 7"), 2),
        (refusals.InvalidTag("cannot use an empty key"), 2),
        (refusals.RegisterFail("cannot register node 7: it is there"), 1),
        (LowSpace("cannot store: no space"), 1),
        (NotPermitted("cannot change: uid 1000 may only read"), 1),
    ],
)
def test_what_mgmtd_refuses_is_one_message_with_its_code(mgmtd, svcmgr, error, code):
    mgmtd.answers["enable-node"] = error
    result = svcmgr("mgmtd", "nodes", "enable", "7")
    assert (result.code, result.out, result.err) == (code, "", f"svcmgr: {error.message}\n")
    answer = svcmgr("mgmtd", "nodes", "enable", "7", "--json").json["error"]
    assert (answer["code"], answer["details"]) == (error.code, error.details)


def test_an_answer_of_another_shape_is_told(mgmtd, svcmgr):
    mgmtd.answers["lease"] = {"owner": "x"}
    assert svcmgr("mgmtd", "lease", "show", "--json").json["error"]["code"] == "protocol"


def test_L21_an_answer_of_an_older_epoch_is_not_used(mgmtd, svcmgr):
    def older(_request):
        mgmtd.epoch = 4
        return ConfigVersions([])

    mgmtd.answers["nodes"] = NodesReply([STORAGE])
    mgmtd.answers["config-versions"] = older
    result = svcmgr("mgmtd", "nodes", "list", "--json")
    assert result.code == 1
    assert result.json["error"]["code"] == "not-primary"


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_X07_without_mgmtd_and_svcmgrd_both_are_named(svcmgr, args):
    result = svcmgr("mgmtd", *args)
    assert result.code == 4
    assert "mgmtd does not run" in result.err
    assert "svcmgr up" in result.err


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_every_command_takes_the_name_of_a_service(svcmgr, args):
    assert "other does not run" in svcmgr("mgmtd", *args, "--service", "other").err
    assert svcmgr("mgmtd", *args, "--service", "../mgmtd").code == 2


def row(status, **facts):
    return ServiceRow("mgmtd", "mgmtd", "up", status, status, NOW, **facts)


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (row("down"), ["mgmtd is down", "svcmgr start mgmtd"]),
        (
            row("failed", reason="exit code 70", log="/log/m.log", last_exit=Exit(NOW, 70, log_tail="bang")),
            ["failed (exit code 70)", "/log/m.log", "svcmgr start mgmtd", "    bang"],
        ),
        (row("starting", socket="/run/x.sock"), ["starting", "/run/x.sock", "try again"]),
    ],
)
def test_svcmgrd_says_why_mgmtd_does_not_answer(svcmgrd, svcmgr, service, words):
    svcmgrd.status(service)
    result = svcmgr("mgmtd", "nodes", "list")
    assert (result.code, result.out) == (3, "")
    for word in words:
        assert word in result.err
    assert svcmgr("mgmtd", "nodes", "list", "--json").json["error"]["code"] == "not-running"


@pytest.mark.parametrize("known", [True, False])
def test_a_host_without_mgmtd_is_told_how_to_get_one(svcmgrd, svcmgr, known):
    svcmgrd.status()
    if not known:
        svcmgrd.answers["status"] = UnknownService("cannot find service 'mgmtd'")
    result = svcmgr("mgmtd", "nodes", "list")
    assert result.code == 3
    assert "svcmgr add mgmtd --kind mgmtd --start" in result.err
