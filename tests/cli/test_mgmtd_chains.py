"""``svcmgr mgmtd chains`` and ``tables``, and their CSV files."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.cli import mgmtd_csv, mgmtd_input
from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.wire import (
    ChainInfo,
    ChainSettingInfo,
    ChainsReply,
    ChainTargetInfo,
    Explanation,
    TableInfo,
    TablesReply,
)

WRAP = {"epoch": 5, "version": 42}


def chain(number, *targets, status="SERVING", version=4, **facts):
    return ChainInfo(
        number, version, status, [ChainTargetInfo(one, "SERVING", "UPTODATE", 7) for one in targets], **facts
    )


NINE = ChainInfo(
    9,
    4,
    "SERVING(1/2)",
    [ChainTargetInfo(21, "SERVING", "UPTODATE", 10002), ChainTargetInfo(11, "OFFLINE")],
    [11, 21],
    [1, 2],
)
NINE_WORDS = "chain 9: version 4, SERVING(1/2): 21(SERVING-UPTODATE) 11(OFFLINE-OFFLINE); preferred order 11,21"
NINE_OBJECT = {
    "chain": 9,
    "version": 4,
    "status": "SERVING(1/2)",
    "targets": [
        {"target": 21, "public": "SERVING", "local": "UPTODATE", "node": 10002},
        {"target": 11, "public": "OFFLINE", "local": "OFFLINE", "node": None},
    ],
    "preferred": [11, 21],
    "tables": [1, 2],
}


def test_chains_are_a_table(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainsReply([NINE, chain(10, 31), chain(11, 41)])
    lines = svcmgr("mgmtd", "chains", "list").out.splitlines()
    assert lines[1].split() == ["9", "1,2", "4", "SERVING(1/2)", "11,21", "21(SERVING-UPTODATE)", "11(OFFLINE-OFFLINE)"]
    assert lines[2].split() == ["10", "-", "4", "SERVING", "-", "31(SERVING-UPTODATE)"]
    assert lines[-1] == "3 chains, 1 SERVING(some), 2 SERVING"
    assert svcmgr("mgmtd", "chains", "list", "--json").json["chains"][0] == NINE_OBJECT


def test_chains_are_selected_by_id_or_table(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainsReply([])
    assert svcmgr("mgmtd", "chains", "list", "9", "10").out == "0 chains\n"
    svcmgr("mgmtd", "chains", "list", "--table", "1", "--table-version", "2")
    asked = [(one.ids, one.table, one.version) for one in mgmtd.requests("chains")]
    assert asked == [([9, 10], 0, 0), ([], 1, 2)]
    assert svcmgr("mgmtd", "chains", "list", "--table-version", "2").code == 2


def test_one_chain(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainsReply([NINE])
    lines = svcmgr("mgmtd", "chains", "show", "9").out.splitlines()
    assert lines[0] == "chain 9"
    assert "    21(SERVING-UPTODATE) on node 10002" in lines
    assert "    11(OFFLINE-OFFLINE) of no known node" in lines
    assert svcmgr("mgmtd", "chains", "show", "9", "--json").json == {**WRAP, "chain": NINE_OBJECT}
    missing = svcmgr("mgmtd", "chains", "show", "8", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (2, "chain-not-found")


def test_explain(mgmtd, svcmgr):
    mgmtd.answers["explain-chain"] = Explanation(NINE, ["target 21 stays SERVING: it serves", "target 11 waits"])
    assert svcmgr("mgmtd", "chains", "explain", "9").out.splitlines() == [
        "chain 9: version 4, SERVING(1/2)",
        "  target 21 stays SERVING: it serves",
        "  target 11 waits",
    ]
    answer = svcmgr("mgmtd", "chains", "explain", "9", "--json").json
    assert answer["explanation"]["chain"] == NINE_OBJECT


@pytest.mark.parametrize(
    ("args", "verb", "asked"),
    [
        (["add-target", "9", "41"], "update-chain", {"target": 41, "mode": "ADD"}),
        (["remove-target", "9", "11"], "update-chain", {"target": 11, "mode": "REMOVE"}),
        (["prefer", "9", "11", "21"], "set-preferred-order", {"order": [11, 21]}),
        (["rotate-preferred", "9"], "rotate-preferred", {"force": False}),
        (["rotate-preferred", "9", "--force"], "rotate-preferred", {"force": True}),
        (["rotate-lastsrv", "9", "--yes"], "rotate-lastsrv", {"force": False}),
    ],
)
def test_changes_of_a_chain_can_be_tried(mgmtd, svcmgr, args, verb, asked):
    mgmtd.answers[verb] = NINE
    assert svcmgr("mgmtd", "chains", *args).out == f"{NINE_WORDS}\n"
    assert svcmgr("mgmtd", "chains", *args, "--dry-run").out == f"dry run: {NINE_WORDS}\n"
    answer = svcmgr("mgmtd", "chains", *args, "--json").json
    assert answer == {**WRAP, "dry_run": False, "chain": NINE_OBJECT}
    requests = mgmtd.requests(verb)
    assert [request.dry_run for request in requests] == [False, True, False]
    assert all(request.chain == 9 for request in requests)
    assert {key: getattr(requests[0], key) for key in asked} == asked


def test_giving_up_the_last_server_needs_a_word(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainsReply([chain(9, 11, version=3)])
    mgmtd.answers["rotate-lastsrv"] = NINE
    result = svcmgr("mgmtd", "chains", "rotate-lastsrv", "9")
    assert result.code == 2
    assert "--yes" in result.err
    assert all(request.dry_run for request in mgmtd.requests("rotate-lastsrv"))
    assert svcmgr("mgmtd", "chains", "rotate-lastsrv", "9", "--dry-run").code == 0, "trying asks nothing"


def test_where_there_is_no_last_server_nobody_is_asked(mgmtd, svcmgr):
    mgmtd.answers["chains"] = ChainsReply([NINE])
    mgmtd.answers["rotate-lastsrv"] = NINE
    result = svcmgr("mgmtd", "chains", "rotate-lastsrv", "9")
    assert (result.code, result.out, result.err) == (0, f"{NINE_WORDS}\n", "")


@pytest.mark.parametrize(("answer", "code", "done"), [(b"y\n", 0, 1), (b"n\n", 1, 0)])
def test_giving_up_the_last_server_shows_what_would_be_and_asks(mgmtd, root, answer, code, done):
    mgmtd.answers["chains"] = ChainsReply([chain(9, 11, version=3)])
    mgmtd.answers["rotate-lastsrv"] = NINE
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        args = [sys.executable, "-m", "svcmgr.cli", "--root", str(root), "mgmtd", "chains", "rotate-lastsrv", "9"]
        result = subprocess.run(args, stdin=theirs, stdout=theirs, stderr=theirs, timeout=30)
        text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert result.returncode == code
    assert "are lost" in text
    assert NINE_WORDS in text
    assert [request.dry_run for request in mgmtd.requests("rotate-lastsrv")] == [True, *[False] * done]


# --- making chains and tables ------------------------------------------------------------------------------


def test_set_makes_one_chain(mgmtd, svcmgr):
    mgmtd.answers["set-chains"] = ChainsReply([NINE])
    assert svcmgr("mgmtd", "chains", "set", "9", "21", "11", "--keep-order").out == f"{NINE_WORDS}\n"
    (request,) = mgmtd.requests("set-chains")
    assert (request.chains, request.dry_run) == ([ChainSettingInfo(9, [21, 11], True)], False)


def test_upload_makes_the_chains_of_a_file(mgmtd, svcmgr, tmp_path):
    mgmtd.answers["set-chains"] = ChainsReply([chain(9, 11, 21), chain(10, 12)])
    file = tmp_path / "chains.csv"
    file.write_text("ChainId,TargetId,TargetId\n9,11,21\n10,12,\n")
    result = svcmgr("mgmtd", "chains", "upload", str(file), "--dry-run")
    assert [line.split(":")[1] for line in result.out.splitlines()] == [" chain 9", " chain 10"]
    (request,) = mgmtd.requests("set-chains")
    assert request.chains == [ChainSettingInfo(9, [11, 21]), ChainSettingInfo(10, [12])]
    assert request.dry_run is True


def test_many_chains_are_counted(mgmtd, svcmgr, tmp_path):
    rows = "".join(f"{one},{one}\n" for one in range(1, 31))
    mgmtd.answers["set-chains"] = ChainsReply([chain(one, one) for one in range(1, 31)])
    file = tmp_path / "chains.csv"
    file.write_text(f"ChainId,TargetId\n{rows}")
    assert svcmgr("mgmtd", "chains", "upload", str(file)).out == "30 chains: as wanted\n"
    assert len(svcmgr("mgmtd", "chains", "upload", str(file), "--json").json["chains"]) == 30


def test_upload_reads_standard_input(mgmtd, start_svcmgr):
    mgmtd.answers["set-chains"] = ChainsReply([NINE])
    with start_svcmgr("mgmtd", "chains", "upload", "-", stdin=subprocess.PIPE) as process:
        process.communicate("\ufeffChainId,TargetId\r\n9,11\r\n", timeout=30)
    assert process.returncode == 0
    assert mgmtd.requests("set-chains")[0].chains == [ChainSettingInfo(9, [11])]


def test_tables_are_set_and_uploaded(mgmtd, svcmgr, tmp_path):
    mgmtd.answers["set-chain-table"] = TableInfo(1, 3, [9, 10], 2, "stage")
    file = tmp_path / "table.csv"
    file.write_text("ChainId\n9\n10\n")
    words = "table 1: version 3, 2 chains\n"
    assert svcmgr("mgmtd", "tables", "upload", "1", str(file), "--desc", "stage").out == words
    assert svcmgr("mgmtd", "tables", "set", "1", "9", "10", "--dry-run").out == f"dry run: {words}"
    first, second = mgmtd.requests("set-chain-table")
    assert (first.table, first.chains, first.desc, first.dry_run) == (1, [9, 10], "stage", False)
    assert (second.table, second.chains, second.desc, second.dry_run) == (1, [9, 10], "", True)


def test_tables_list_and_dump(mgmtd, svcmgr):
    table = TableInfo(1, 3, [10, 9], 2, "stage 1")
    mgmtd.answers["chain-tables"] = TablesReply([table])
    lines = svcmgr("mgmtd", "tables", "list", "1", "--all-versions").out.splitlines()
    assert lines[1].split() == ["1", "3", "2", "2", "stage", "1"]
    assert svcmgr("mgmtd", "tables", "dump", "1").out == "ChainId\n10\n9\n"
    assert svcmgr("mgmtd", "tables", "dump", "1", "--table-version", "3").code == 0
    missing = svcmgr("mgmtd", "tables", "dump", "1", "--table-version", "2")
    assert (missing.code, missing.out) == (2, "")
    asked = [(one.table, one.version) for one in mgmtd.requests("chain-tables")]
    assert asked == [(1, -1), (1, 0), (1, 3), (1, 2)]
    answer = svcmgr("mgmtd", "tables", "dump", "1", "--json").json
    expected = {"table": 1, "version": 3, "chains": [10, 9], "replicas": 2, "desc": "stage 1"}
    assert answer == {**WRAP, "table": expected}


def test_dump_of_chains_is_what_upload_reads(mgmtd, svcmgr, tmp_path):
    mgmtd.answers["chains"] = ChainsReply([chain(10, 12), NINE])
    dumped = svcmgr("mgmtd", "chains", "dump").out
    assert dumped == "ChainId,TargetId,TargetId\n9,21,11\n10,12,\n"
    assert svcmgr("mgmtd", "chains", "dump", "--replicas", "1").out == "ChainId,TargetId\n10,12\n"
    assert len(svcmgr("mgmtd", "chains", "dump", "--replicas", "2", "--json").json["chains"]) == 1
    mgmtd.answers["set-chains"] = ChainsReply([])
    file = tmp_path / "chains.csv"
    file.write_text(dumped)
    assert svcmgr("mgmtd", "chains", "upload", str(file)).code == 0
    assert mgmtd.requests("set-chains")[0].chains == [ChainSettingInfo(9, [21, 11]), ChainSettingInfo(10, [12])]


# --- bad files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("\n \n", 1),
        ("ChainId,TargetId\n", 1),
        ("9,11\n", 1),
        ("ChainId\n9\n", 1),
        ("ChainId,TargetId,Node\n9,11,7\n", 1),
        ("chainid,targetid\n9,11\n", 1),
        ("ChainId,TargetId\n9,11\nx,12\n", 3),
        ("ChainId,TargetId\n9,11\n\n10,-1\n", 4),
        ("ChainId,TargetId\n0,11\n", 2),
        ("ChainId,TargetId\n4294967296,11\n", 2),
        ("ChainId,TargetId\n9,18446744073709551616\n", 2),
        ("ChainId,TargetId\n9," + "1" * 5000 + "\n", 2),
        ("ChainId,TargetId\n9,\u0661\n", 2),
        ("ChainId,TargetId\n9,1_1\n", 2),
        ("ChainId,TargetId\n9,\n", 2),
        ("ChainId,TargetId\n9\n", 2),
        ("ChainId,TargetId\n,11\n", 2),
        ("ChainId,TargetId,TargetId\n9,,11\n", 2),
        ("ChainId,TargetId\n9,11,12\n", 2),
        ("ChainId,TargetId\n9,11\n9,12\n", 3),
        ("ChainId,TargetId\n9,11\n10,11\n", 3),
        ("ChainId,TargetId,TargetId\n9,11,11\n", 2),
        ('ChainId,TargetId\n"9,11\n', 2),
        ('ChainId,TargetId\n"9"x,11\n', 2),
        ("ChainId,TargetId\n9,1\x001\n", 2),
    ],
)
def test_bad_chains_are_told_with_their_line(text, line):
    with pytest.raises(BadInput) as caught:
        mgmtd_csv.read_chains(text, "x.csv", False)
    assert caught.value.details == {"path": "x.csv", "line": line}


@pytest.mark.parametrize(
    ("text", "line"),
    [("", 1), ("ChainId\n", 1), ("ChainId,TargetId\n9,1\n", 1), ("ChainId\n9\n9\n", 3), ("ChainId\n9,10\n", 2)],
)
def test_bad_tables_are_told_with_their_line(text, line):
    with pytest.raises(BadInput) as caught:
        mgmtd_csv.read_table(text, "x.csv")
    assert caught.value.details["line"] == line


@given(st.dictionaries(st.integers(1, 2**32 - 1), st.integers(1, 5), min_size=1, max_size=20), st.randoms())
def test_what_is_written_is_read_again(lengths, rng):
    pool = rng.sample(range(1, 1000), 100)
    chains = [chain(number, *(pool.pop() for _ in range(length))) for number, length in lengths.items()]
    settings = mgmtd_csv.read_chains(mgmtd_csv.write_chains(chains), "x", True)
    expected = {one.chain: [target.target for target in one.targets] for one in chains}
    assert {one.chain: one.targets for one in settings} == expected
    assert [one.chain for one in settings] == sorted(expected)
    order = list(lengths)
    assert mgmtd_csv.read_table(mgmtd_csv.write_table(order), "x") == order


@given(st.text(), st.sampled_from(["", "ChainId,TargetId\n"]))
def test_no_text_does_more_than_to_be_refused(text, header):
    with contextlib.suppress(BadInput):
        assert mgmtd_csv.read_chains(header + text, "x", False)
    with contextlib.suppress(BadInput):
        assert mgmtd_csv.read_table(header + text, "x")


def test_files_that_cannot_be_read(mgmtd, svcmgr, tmp_path, monkeypatch):
    (tmp_path / "binary").write_bytes(b"ChainId,TargetId\n\xff")
    (tmp_path / "large").write_bytes(b"x" * 101)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(mgmtd_input, "CSV_MAX", 100)
    for name in ("missing", "binary", "large", "fifo", "."):
        assert svcmgr("mgmtd", "chains", "upload", str(tmp_path / name)).code == 2, name
        assert svcmgr("mgmtd", "tables", "upload", "1", str(tmp_path / name)).code == 2, name
    assert mgmtd.seen == []


def test_standard_input_is_limited(start_svcmgr):
    with start_svcmgr("mgmtd", "chains", "upload", "-", stdin=subprocess.PIPE) as process:
        _, err = process.communicate("9" * (mgmtd_input.CSV_MAX + 1), timeout=60)
    assert process.returncode == 2
    assert "larger than" in err
