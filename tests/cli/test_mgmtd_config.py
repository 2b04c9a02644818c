"""``svcmgr mgmtd config`` and ``doctor``."""

from __future__ import annotations

import pytest

from svcmgr.cli.mgmtd_findings import of_chains, of_lease, of_nodes, of_targets
from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.errors import InvalidConfigVersion, NotPrimary
from svcmgr.services.mgmtd.wire import (
    AppInfo,
    ChainInfo,
    ChainsReply,
    ConfigInfo,
    ConfigVersions,
    LeaseInfo,
    NodeInfo,
    NodesReply,
    TargetInfo,
    TargetsReply,
)
from tests.cli.conftest import NOW

TWO = ConfigInfo("STORAGE", 2, "threads = 8\n", "more", "ops", NOW, "0123456789abcdef", "")
ONE = ConfigInfo("STORAGE", 1, "threads = 4")


def stored(request):
    """What a mgmtd with versions 1 and 2 of STORAGE answers."""
    if request.exact and request.version > 2:
        raise InvalidConfigVersion("cannot find version 9 of the configuration of STORAGE", newest=2)
    if request.exact:
        return (ConfigInfo("STORAGE", 0), ONE, TWO)[request.version]
    return TWO if request.version < 2 else None


STALE_NODE = NodeInfo(AppInfo(7), "STORAGE", "HEARTBEAT_CONNECTED", config_version=1)


def test_set_sends_the_file(mgmtd, svcmgr, tmp_path):
    mgmtd.answers["set-config"] = TWO
    file = tmp_path / "storage.toml"
    file.write_text("threads = 8\n")
    args = ["mgmtd", "config", "set", "storage", str(file), "--desc", "more", "--author", "ops"]
    assert svcmgr(*args, "--force").out == "STORAGE: version 2 (hash 0123456789ab)\n"
    assert svcmgr(*args, "--dry-run").out.startswith("dry run: STORAGE: version 2")
    first, second = mgmtd.requests("set-config")
    assert (first.type, first.content, first.desc, first.author) == ("STORAGE", "threads = 8\n", "more", "ops")
    assert (first.force, first.dry_run, second.force, second.dry_run) == (True, False, False, True)
    answer = svcmgr(*args, "--json").json
    assert answer["config"]["time"] == "2026-01-31T08:00:00.250Z"
    assert answer["config"]["origin"] == ""


def test_the_author_is_whoever_asks(mgmtd, svcmgr):
    mgmtd.answers["rollback-config"] = ConfigInfo("STORAGE", 3, hash="ab", origin="rollback of 2 to 1")
    result = svcmgr("mgmtd", "config", "rollback", "storage", "1")
    assert result.out == "STORAGE: version 3 (hash ab, rollback of 2 to 1)\n"
    (request,) = mgmtd.requests("rollback-config")
    assert (request.type, request.version, request.dry_run) == ("STORAGE", 1, False)
    assert request.author


def test_a_file_that_cannot_be_read_is_told_before_anybody_is_asked(mgmtd, svcmgr, tmp_path):
    assert svcmgr("mgmtd", "config", "set", "storage", str(tmp_path / "missing")).code == 2
    assert svcmgr("mgmtd", "config", "set", "storage", str(tmp_path)).code == 2
    assert mgmtd.seen == []


def test_G06_a_refusal_of_the_schema_is_passed_on(mgmtd, svcmgr, tmp_path):
    mgmtd.answers["set-config"] = BadInput("cannot accept line 1: unknown key 'thread'", near=["threads"])
    file = tmp_path / "x.toml"
    file.write_text("thread = 8\n")
    result = svcmgr("mgmtd", "config", "set", "storage", str(file))
    assert (result.code, result.out) == (2, "")
    assert "did you mean: threads" in result.err


def test_get_prints_any_version(mgmtd, svcmgr):
    mgmtd.answers["config"] = stored
    assert svcmgr("mgmtd", "config", "get", "storage").out == "threads = 8\n"
    assert svcmgr("mgmtd", "config", "get", "storage", "1").out == "threads = 4\n"
    assert svcmgr("mgmtd", "config", "get", "storage", "0").out == ""
    missing = svcmgr("mgmtd", "config", "get", "storage", "9", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (2, "invalid-config-version")
    assert svcmgr("mgmtd", "config", "get", "storage", "1", "--json").json["config"]["version"] == 1


def test_get_of_what_was_never_set_is_empty(mgmtd, svcmgr):
    mgmtd.answers["config"] = None
    assert svcmgr("mgmtd", "config", "get", "meta").out == ""
    assert svcmgr("mgmtd", "config", "get", "meta", "--json").json["config"]["version"] == 0


def test_versions(mgmtd, svcmgr):
    mgmtd.answers["config-versions"] = ConfigVersions([TWO, ConfigInfo("META", 0)])
    lines = svcmgr("mgmtd", "config", "versions", "storage").out.splitlines()
    assert lines[1].split() == ["STORAGE", "2", "2026-01-31T08:00:00Z", "ops", "-", "0123456789ab", "more"]
    assert lines[2].split() == ["META", "0", "-", "-", "-", "-", "-"]
    assert mgmtd.requests("config-versions")[0].type == "STORAGE"
    assert len(svcmgr("mgmtd", "config", "versions", "--json").json["versions"]) == 2


@pytest.mark.parametrize("versions", [[], ["1"], ["1", "2"]])
def test_diff(mgmtd, svcmgr, versions):
    mgmtd.answers["config"] = stored
    result = svcmgr("mgmtd", "config", "diff", "storage", *versions)
    assert result.code == 0
    assert result.out.splitlines() == [
        "--- STORAGE version 1",
        "+++ STORAGE version 2",
        "@@ -1 +1 @@",
        "-threads = 4",
        "+threads = 8",
    ]
    answer = svcmgr("mgmtd", "config", "diff", "storage", *versions, "--json").json
    assert (answer["type"], answer["old"], answer["new"], len(answer["diff"])) == ("STORAGE", 1, 2, 5)


def test_diff_with_nothing_and_of_nothing(mgmtd, svcmgr):
    mgmtd.answers["config"] = stored
    assert "+threads = 4" in svcmgr("mgmtd", "config", "diff", "storage", "0", "1").out
    assert svcmgr("mgmtd", "config", "diff", "storage", "1", "1").out == (
        "no differences between versions 1 and 1 of STORAGE\n"
    )


# --- doctor ------------------------------------------------------------------------------------------------

GOOD = LeaseInfo(1, 5, NOW, 40.0, trusted=True)


def node(number, status="HEARTBEAT_CONNECTED", config="NORMAL"):
    return NodeInfo(AppInfo(number), "STORAGE", status, config_status=config)


def chain(number, status="SERVING", tables=(1,)):
    return ChainInfo(number, 1, status, [], tables=list(tables))


def healthy(mgmtd):
    mgmtd.answers["lease"] = GOOD
    mgmtd.answers["config-versions"] = ConfigVersions([ConfigInfo("STORAGE", 0)])
    mgmtd.answers["nodes"] = NodesReply([node(7)])
    mgmtd.answers["chains"] = ChainsReply([chain(9)])
    mgmtd.answers["targets"] = TargetsReply([TargetInfo(21, "SERVING", "UPTODATE", 9)])
    mgmtd.answers["orphans"] = TargetsReply([])


def test_doctor_of_a_healthy_cluster(mgmtd, svcmgr):
    healthy(mgmtd)
    result = svcmgr("mgmtd", "doctor")
    assert (result.code, result.out) == (0, "nothing looks wrong\n")
    assert svcmgr("mgmtd", "doctor", "--json").json["findings"] == []


def test_doctor_names_errors_first_and_what_to_do(mgmtd, svcmgr):
    healthy(mgmtd)
    mgmtd.answers["nodes"] = NodesReply([node(7, "DISABLED")])
    mgmtd.answers["chains"] = ChainsReply([chain(9, "UNAVAILABLE")])
    result = svcmgr("mgmtd", "doctor")
    assert result.code == 1
    first, advice, second, _ = result.out.splitlines()
    assert first.startswith("error    chain 9: ")
    assert "svcmgr mgmtd chains explain 9" in advice
    assert second.startswith("warning  node 7: ")
    assert svcmgr("mgmtd", "doctor", "--json").json["findings"][0]["level"] == "error"


def test_doctor_of_warnings_is_no_failure(mgmtd, svcmgr):
    healthy(mgmtd)
    mgmtd.answers["orphans"] = TargetsReply([TargetInfo(99)])
    assert svcmgr("mgmtd", "doctor").code == 0


def test_doctor_of_a_mgmtd_that_is_not_primary(mgmtd, svcmgr):
    mgmtd.answers["lease"] = NotPrimary("cannot answer: node 2 is primary", primary=2)
    result = svcmgr("mgmtd", "doctor")
    assert result.code == 1
    assert "node 2 is primary" in result.out


@pytest.mark.parametrize(
    ("lease", "levels"),
    [
        (GOOD, []),
        (LeaseInfo(0, 5), ["error"]),
        (LeaseInfo(1, 5), ["error"]),
        (LeaseInfo(1, 5, trusted=True, loading=True), ["warning"]),
    ],
)
def test_findings_about_the_lease(lease, levels):
    assert [one.level for one in of_lease(lease)] == levels


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (of_nodes([node(7), node(8, "PRIMARY_MGMTD", "UNKNOWN")], {}), []),
        (of_nodes([node(7, "HEARTBEAT_FAILED")], {}), [("error", "node 7")]),
        (
            of_nodes([node(7, "HEARTBEAT_CONNECTING"), node(8, "STOPPED")], {}),
            [("warning", "node 7"), ("warning", "node 8")],
        ),
        (of_nodes([node(7, config="FAILED"), node(8, config="FAILED")], {}), [("error", "2 nodes")]),
        (
            of_nodes([node(7, config="STALE"), node(8, config="DIRTY")], {}),
            [("warning", "node 8"), ("warning", "node 7")],
        ),
        (of_nodes([STALE_NODE], {"STORAGE": 1, "META": 7}), []),
        (of_nodes([STALE_NODE], {"STORAGE": 2}), [("warning", "node 7")]),
        (of_nodes([node(7, "HEARTBEAT_FAILED")], {"STORAGE": 2}), [("error", "node 7")]),
        (of_nodes([node(7, config="FAILED")], {"STORAGE": 2}), [("error", "node 7")]),
        (of_chains([chain(9), chain(10, "SERVING(1/2)")]), [("warning", "chain 10")]),
        (of_chains([chain(9, "SYNCING"), chain(10, "CREATED")]), [("warning", "chain 9"), ("warning", "chain 10")]),
        (of_chains([chain(9, tables=())]), [("warning", "chain 9")]),
        (of_targets([TargetInfo(21, low_space=True)], []), [("warning", "target 21")]),
    ],
)
def test_findings(found, expected):
    assert [(one.level, one.subject) for one in found] == expected
    assert all(one.text and one.advice for one in found)


def test_a_thousand_broken_chains_are_one_finding():
    (found,) = of_chains([chain(number, "UNAVAILABLE") for number in range(1, 1001)])
    assert found.subject == "1000 chains"
    assert "1, 2, 3, 4, 5, ..." in found.text
