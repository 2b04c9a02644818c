"""``svcmgr snapshot``: what is asked of snapd, what is printed, the exit code, and why nobody answers."""

from __future__ import annotations

import base64
import os
import pty
import select
import subprocess
import sys

import pytest

from svcmgr.cli.render import size
from svcmgr.errors import LowSpace, NotPermitted, UnknownSchedule, UnknownService, UnknownSnapshot, UnknownVolume
from svcmgr.host.wire import Exit, ServiceRow
from svcmgr.host.wire_volumes import VolumeInfo, VolumesReply
from svcmgr.services.snapd.wire import (
    READ_MAX,
    Cost,
    Difference,
    DiffReply,
    Entry,
    ListReply,
    ReadReply,
    RestoreReply,
    Schedule,
    SchedulesReply,
    Snapshot,
    SnapshotInfo,
    SnapshotsReply,
)
from tests.cli.conftest import NOW

MONDAY = Snapshot("monday", "id-1", NOW, "btrfs", "instant", True, "schedule:daily", "", Cost(0.0214, 3))
COPY = Snapshot("copy", "id-2", NOW + 60, "copy", "per-file", cost=Cost(75.0, 9, 3 << 20, 512), description="by hand")
MONDAY_OBJECT = {
    "name": "monday",
    "id": "id-1",
    "created": "2026-01-31T08:00:00.250Z",
    "method": "btrfs",
    "consistency": "instant",
    "activated": True,
    "origin": "schedule:daily",
    "description": "",
    "cost": {"duration_s": 0.021, "files": 3, "copied_bytes": 0, "shared_bytes": 0},
}
INFO = SnapshotInfo(MONDAY, "v0", "vid", ["/srv/a"], ["/srv/a/.svcmgr/snapshots/id-1"], view="/run/snaps/v0/monday")
HOURLY = Schedule("hourly", "1h", {"hourly": 24, "daily": 7}, None, NOW + 3600, NOW, "taken hourly-x", 12)
HOURLY_OBJECT = {
    "name": "hourly",
    "every": "1h",
    "keep": {"hourly": 24, "daily": 7},
    "activate": None,
    "next_due": "2026-01-31T09:00:00.250Z",
    "last_run": "2026-01-31T08:00:00.250Z",
    "last_result": "taken hourly-x",
    "held": 12,
}

#: Each command as short as it can be, for what they have in common.
COMMANDS = [
    ["create", "v0"],
    ["list", "v0"],
    ["info", "v0", "monday"],
    ["activate", "v0", "monday"],
    ["deactivate", "v0", "monday"],
    ["delete", "v0", "monday"],
    ["restore", "v0", "monday", "--to", "/new"],
    ["diff", "v0", "monday"],
    ["schedule", "v0", "hourly", "--every", "1h", "--keep", "last=1"],
    ["unschedule", "v0", "hourly"],
    ["schedules", "v0"],
    ["ls", "v0", "monday"],
    ["cat", "v0", "monday", "a"],
]


def listed(*snapshots, **facts):
    return SnapshotsReply(list(snapshots), "v0", **facts)


# --- the life of a snapshot --------------------------------------------------------------------------------


def test_create_prints_method_and_cost(snapd, svcmgr):
    snapd.answers["snapshot-create"] = MONDAY
    result = svcmgr("snapshot", "create", "v0")
    assert (result.code, result.out, result.err) == (0, "v0: created monday (btrfs, instant, 0.02s)\n", "")
    (request,) = snapd.requests("snapshot-create")
    assert (request.name, request.description, request.activate) == ("", "", None)


@pytest.mark.parametrize(("flag", "activate"), [("--activate", True), ("--no-activate", False)])
def test_create_passes_everything_on(snapd, svcmgr, flag, activate):
    snapd.answers["snapshot-create"] = COPY
    result = svcmgr("snapshot", "create", "v0", "copy", "--description", "by hand", flag)
    how = "copy, per-file, 1m15s, 3.0 MiB copied, 512 B shared"
    assert result.out == f"v0: created copy ({how}), not activated\n"
    (request,) = snapd.requests("snapshot-create")
    assert (request.name, request.description, request.activate) == ("copy", "by hand", activate)


def test_create_json(snapd, svcmgr):
    snapd.answers["snapshot-create"] = MONDAY
    assert svcmgr("snapshot", "create", "v0", "--json").json == {"snapshot": MONDAY_OBJECT}


@pytest.mark.parametrize(
    ("command", "word"), [("activate", "activated"), ("deactivate", "deactivated"), ("delete", "deleted")]
)
def test_changes_take_names_and_say_what_was_changed(snapd, svcmgr, command, word):
    snapd.answers[f"snapshot-{command}"] = listed(MONDAY, COPY)
    result = svcmgr("snapshot", command, "v0", "monday", "copy")
    assert (result.code, result.out) == (0, f"v0: {word} monday\nv0: {word} copy\n")
    assert snapd.requests(f"snapshot-{command}")[0].names == ["monday", "copy"]
    answer = svcmgr("snapshot", command, "v0", "monday", "copy", "--json").json
    assert answer["volume"] == "v0"
    assert [one["name"] for one in answer["snapshots"]] == ["monday", "copy"]


@pytest.mark.parametrize("command", ["activate", "deactivate"])
def test_globs_go_to_snapd(snapd, svcmgr, command):
    snapd.answers[f"snapshot-{command}"] = listed()
    assert svcmgr("snapshot", command, "v0", "m*").code == 0
    assert snapd.requests(f"snapshot-{command}")[0].names == ["m*"]


def test_deleting_by_glob_needs_yes_where_nobody_can_be_asked(snapd, svcmgr):
    snapd.answers["snapshots"] = listed(MONDAY)
    snapd.answers["snapshot-delete"] = listed(MONDAY)
    result = svcmgr("snapshot", "delete", "v0", "m*")
    assert result.code == 2
    assert "monday" in result.err
    assert "--yes" in result.err
    assert snapd.requests("snapshot-delete") == []
    assert svcmgr("snapshot", "delete", "v0", "m*", "--yes").code == 0
    assert snapd.requests("snapshot-delete")[0].names == ["m*"]


# --- what there is -----------------------------------------------------------------------------------------


def test_list_is_a_table(snapd, svcmgr):
    snapd.answers["snapshots"] = listed(MONDAY, COPY, limit=1000, free_bytes=5 << 30, total_bytes=20 << 30)
    result = svcmgr("snapshot", "list", "v0")
    assert result.code == 0
    head, first, second, summary = result.out.splitlines()
    assert head.split() == ["NAME", "CREATED", "METHOD", "STATE", "ORIGIN", "COST", "DESCRIPTION"]
    assert first.split() == ["monday", "2026-01-31T08:00:00Z", "btrfs", "activated", "schedule:daily", "0.02s", "-"]
    assert second.split()[:5] == ["copy", "2026-01-31T08:01:00Z", "copy", "deactivated", "operator"]
    assert summary == "2 snapshots, at most 1000; 5.0 GiB of 20.0 GiB free"


def test_list_of_nothing(snapd, svcmgr):
    snapd.answers["snapshots"] = listed()
    assert svcmgr("snapshot", "list", "v0", "x*").out == "no snapshots\n"
    assert snapd.requests("snapshots")[0].names == ["x*"]


def test_list_json(snapd, svcmgr):
    snapd.answers["snapshots"] = listed(MONDAY, limit=7, free_bytes=1, total_bytes=2)
    assert svcmgr("snapshot", "list", "v0", "--json").json == {
        "volume": "v0",
        "limit": 7,
        "free_bytes": 1,
        "total_bytes": 2,
        "snapshots": [MONDAY_OBJECT],
    }


def test_info(snapd, svcmgr):
    snapd.answers["snapshot-info"] = INFO
    assert svcmgr("snapshot", "info", "v0", "monday", "--json").json == {
        "snapshot": {
            **MONDAY_OBJECT,
            "volume": "v0",
            "volume_id": "vid",
            "bricks": ["/srv/a"],
            "paths": ["/srv/a/.svcmgr/snapshots/id-1"],
            "volume_options": {},
            "skipped": [],
            "view": "/run/snaps/v0/monday",
        }
    }
    lines = svcmgr("snapshot", "info", "v0", "monday").out.splitlines()
    assert lines[0] == "monday"
    assert "  cost: 0.02s, 3 files" in lines
    assert "    1: /srv/a" in lines
    assert "  skipped: -" in lines


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1.0 PiB"),
        (1 << 63, "8192.0 PiB"),
    ],
)
def test_sizes(count, text):
    assert size(count) == text


# --- restore and diff --------------------------------------------------------------------------------------


def test_restore_to_a_new_place_does_not_ask(snapd, svcmgr, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snapd.answers["snapshot-restore"] = RestoreReply([f"{tmp_path}/new"], 1, 2048, 0.5)
    result = svcmgr("snapshot", "restore", "v0", "monday", "etc/app.conf", "--to", "new", "--brick", "2")
    assert (result.code, result.out) == (0, f"v0: restored {tmp_path}/new (1 file, 2.0 KiB, 0.50s)\n")
    (request,) = snapd.requests("snapshot-restore")
    assert (request.name, request.path, request.to) == ("monday", "etc/app.conf", f"{os.getcwd()}/new")
    assert (request.in_place, request.confirmed, request.brick) == (False, False, 2)


def test_restore_in_place_with_yes(snapd, svcmgr):
    snapd.answers["snapshot-restore"] = RestoreReply(["/srv/a"], 2, 3, 0.25, "safety-1")
    result = svcmgr("snapshot", "restore", "v0", "monday", "--in-place", "--yes")
    assert result.out.splitlines()[1] == "v0: what was there before is in snapshot safety-1"
    (request,) = snapd.requests("snapshot-restore")
    assert (request.path, request.to, request.in_place, request.confirmed) == ("", "", True, True)
    assert svcmgr("snapshot", "restore", "v0", "monday", "--in-place", "-y", "--json").json == {
        "where": ["/srv/a"],
        "files": 2,
        "bytes": 3,
        "duration_s": 0.25,
        "safety": "safety-1",
    }


def test_restore_in_place_without_a_terminal_names_what_to_type(snapd, svcmgr):
    snapd.answers["snapshot-info"] = INFO
    result = svcmgr("snapshot", "restore", "v0", "monday", "etc", "--in-place")
    assert result.code == 2
    assert "/srv/a/etc" in result.err
    assert "--yes" in result.err
    assert "safety" in result.err
    assert snapd.requests("snapshot-restore") == []


@pytest.mark.parametrize("places", [[], ["--to", "/x", "--in-place"], ["--to", ""], ["--in-place", "--brick", "0"]])
def test_restore_goes_to_exactly_one_place(snapd, svcmgr, places):
    assert svcmgr("snapshot", "restore", "v0", "monday", *places).code == 2
    assert snapd.seen == []


def at_a_terminal(root, answer, *args):
    """Run a true ``svcmgr`` at a terminal that answers its question; (exit code, all it wrote)."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "svcmgr.cli", "--root", str(root), *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        seen = b""
        with process:
            while select.select([ours], [], [], 30)[0]:
                try:
                    piece = os.read(ours, 4096)
                except OSError:  # EIO: the last one that held the terminal ended
                    break
                seen += piece
                if b"[y/N]" in seen and answer:
                    os.write(ours, answer)
                    answer = b""
            return process.wait(30), seen.decode()
    finally:
        os.close(ours)


@pytest.mark.parametrize(("answer", "code", "asked"), [(b"y\n", 0, 1), (b"n\n", 1, 0), (b"\n", 1, 0)])
def test_restore_in_place_asks_at_a_terminal(snapd, root, answer, code, asked):
    snapd.answers["snapshot-info"] = INFO
    snapd.answers["snapshot-restore"] = RestoreReply(["/srv/a"], 2, 3, 0.25, "safety-1")
    result, text = at_a_terminal(root, answer, "snapshot", "restore", "v0", "monday", "--in-place")
    assert (result, len(snapd.requests("snapshot-restore"))) == (code, asked)
    assert "everything in /srv/a" in text
    assert "safety-" in text


def test_deleting_by_glob_asks_at_a_terminal_and_deletes_what_was_shown(snapd, root):
    snapd.answers["snapshots"] = listed(MONDAY)
    snapd.answers["snapshot-delete"] = listed(MONDAY)
    assert at_a_terminal(root, b"y\n", "snapshot", "delete", "v0", "*")[0] == 0
    assert snapd.requests("snapshot-delete")[0].names == ["monday"]


CHANGES = [
    Difference("added", "new", "file", None, 12),
    Difference("removed", "old", "directory"),
    Difference("modified", "both", "file", 12, 2048),
    Difference("metadata", "odd\n", "file", 5, 5),
    Difference("type", "x", "symlink"),
]


def test_diff(snapd, svcmgr):
    snapd.answers["snapshot-diff"] = DiffReply(CHANGES, {"added": 9, "removed": 1, "type": 0}, truncated=True)
    result = svcmgr("snapshot", "diff", "v0", "monday", "--limit", "5")
    assert result.code == 0
    assert result.out.splitlines() == [
        "+ new (12 B)",
        "- old/",
        "~ both (12 B -> 2.0 KiB)",
        ". odd\\n",
        "! x",
        "9 added, 1 removed; 5 of them are listed, --limit lists more",
    ]
    (request,) = snapd.requests("snapshot-diff")
    assert (request.name, request.other, request.path, request.content, request.limit) == ("monday", "", "", False, 5)


def test_diff_json(snapd, svcmgr):
    snapd.answers["snapshot-diff"] = DiffReply(CHANGES[:1], {"added": 1})
    result = svcmgr("snapshot", "diff", "v0", "monday", "copy", "--path", "etc", "--content", "--json")
    assert result.json == {
        "differences": [{"change": "added", "path": "new", "kind": "file", "old_size": None, "new_size": 12}],
        "counts": {"added": 1},
        "truncated": False,
    }
    (request,) = snapd.requests("snapshot-diff")
    assert (request.other, request.path, request.content, request.limit) == ("copy", "etc", True, 10_000)


def test_no_differences(snapd, svcmgr):
    snapd.answers["snapshot-diff"] = DiffReply([], {})
    assert svcmgr("snapshot", "diff", "v0", "monday").out == "no differences\n"


# --- schedules ---------------------------------------------------------------------------------------------


def test_schedule(snapd, svcmgr):
    snapd.answers["schedule-set"] = HOURLY
    args = ["snapshot", "schedule", "v0", "hourly", "--every", "1h", "--keep", "hourly=24,daily=7", "--no-activate"]
    words = "every 1h, keeps hourly=24,daily=7, next at 2026-01-31T09:00:00.250Z"
    assert svcmgr(*args).out == f"v0: schedule hourly: {words}\n"
    (request,) = snapd.requests("schedule-set")
    assert (request.name, request.every, request.keep, request.activate) == ("hourly", "1h", "hourly=24,daily=7", False)
    assert svcmgr(*args, "--json").json == {"volume": "v0", "schedule": HOURLY_OBJECT}


@pytest.mark.parametrize("missing", ["--every", "--keep"])
def test_a_schedule_needs_both(svcmgr, missing):
    options = {"--every": "1h", "--keep": "last=1"}
    del options[missing]
    assert svcmgr("snapshot", "schedule", "v0", "x", *(word for pair in options.items() for word in pair)).code == 2


def test_unschedule_says_that_snapshots_stay(snapd, svcmgr):
    snapd.answers["schedule-remove"] = HOURLY
    assert svcmgr("snapshot", "unschedule", "v0", "hourly").out == (
        "v0: schedule hourly is removed; its 12 snapshots stay\n"
    )
    assert svcmgr("snapshot", "unschedule", "v0", "hourly", "--json").json["schedule"] == HOURLY_OBJECT


def test_schedules(snapd, svcmgr):
    snapd.answers["schedules"] = SchedulesReply([HOURLY, Schedule("new", "1d", {"last": 1}, False, NOW)])
    lines = svcmgr("snapshot", "schedules", "v0").out.splitlines()
    assert lines[1].split()[:5] == ["hourly", "1h", "hourly=24,daily=7", "12", "by"]
    assert lines[2].split() == ["new", "1d", "last=1", "0", "no", "2026-01-31T08:00:00Z", "-", "-"]
    answer = svcmgr("snapshot", "schedules", "v0", "--json").json
    assert answer["schedules"][0] == HOURLY_OBJECT
    assert answer["schedules"][1]["last_run"] is None


def test_no_schedules(snapd, svcmgr):
    snapd.answers["schedules"] = SchedulesReply([])
    assert svcmgr("snapshot", "schedules", "v0").out == "no schedules\n"


# --- files -------------------------------------------------------------------------------------------------

ENTRIES = [
    Entry("etc", "directory", 0o755, 0, 0, 0, NOW),
    Entry("a\x1b", "file", 0o4644, 1000, 100, 5, NOW),
    Entry("l", "symlink", 0o777, 0, 0, 3, 1e18, "etc"),
]


def test_ls(snapd, svcmgr):
    snapd.answers["list"] = ListReply(ENTRIES, truncated=True)
    result = svcmgr("snapshot", "ls", "v0", "monday", "etc", "--brick", "2")
    assert result.out.splitlines() == ["etc/", "a\\x1b", "l@"]
    assert "more than the 3 entries" in result.err
    (request,) = snapd.requests("list")
    assert (request.name, request.path, request.brick) == ("monday", "etc", 2)


def test_ls_long_and_json(snapd, svcmgr):
    snapd.answers["list"] = ListReply(ENTRIES)
    lines = [line.split() for line in svcmgr("snapshot", "ls", "v0", "monday", "--long").out.splitlines()]
    assert lines[1] == ["d0755", "0", "0", "0", "2026-01-31T08:00:00Z", "etc"]
    assert lines[2] == ["-4644", "1000", "100", "5", "2026-01-31T08:00:00Z", "a\\x1b"]
    assert lines[3] == ["l0777", "0", "0", "3", "-", "l", "->", "etc"]
    answer = svcmgr("snapshot", "ls", "v0", "monday", "--json").json
    assert answer["truncated"] is False
    assert answer["entries"][1:] == [
        {
            "name": "a\x1b",
            "kind": "file",
            "mode": "4644",
            "uid": 1000,
            "gid": 100,
            "size": 5,
            "mtime": "2026-01-31T08:00:00.250Z",
            "target": None,
        },
        {"name": "l", "kind": "symlink", "mode": "0777", "uid": 0, "gid": 0, "size": 3, "mtime": None, "target": "etc"},
    ]


def serve_file(data, piece):
    def read(request):
        assert request.length == READ_MAX
        part = data[request.offset : request.offset + piece]
        return ReadReply(part, len(data), request.offset + len(part) >= len(data))

    return read


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 10])
def test_cat_prints_bytes_as_they_are(snapd, start_svcmgr, data):
    snapd.answers["read"] = serve_file(data, 1000)
    with start_svcmgr("snapshot", "cat", "v0", "monday", "etc/a", text=False) as process:
        assert process.communicate(timeout=30) == (data, b"")
    assert process.returncode == 0


def test_cat_json_is_a_line_for_each_piece(snapd, svcmgr):
    snapd.answers["read"] = serve_file(b"hello", 3)
    assert svcmgr("snapshot", "cat", "v0", "monday", "a", "--json").out.splitlines() == [
        '{"offset":0,"data":"aGVs","eof":false}',
        '{"offset":3,"data":"bG8=","eof":true}',
    ]
    assert base64.b64decode("aGVs") + base64.b64decode("bG8=") == b"hello"


def test_cat_does_not_read_for_ever(snapd, svcmgr):
    snapd.answers["read"] = ReadReply(b"", 10, False)
    assert svcmgr("snapshot", "cat", "v0", "monday", "a", "--json").code == 0


# --- errors, and why nobody answers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "error", "code"),
    [
        (["create", "v0"], LowSpace("cannot take a snapshot: 3% free"), 1),
        (["info", "v0", "mnday"], UnknownSnapshot("cannot find snapshot 'mnday'", near=["monday"]), 2),
        (["unschedule", "v0", "x"], UnknownSchedule("cannot find schedule 'x'", known=["hourly"]), 2),
        (["delete", "v0", "x"], NotPermitted("cannot delete: uid 1000 may only read"), 1),
    ],
)
def test_errors_of_snapd_are_one_message(snapd, svcmgr, args, error, code):
    verbs = {"create": "snapshot-create", "info": "snapshot-info", "unschedule": "schedule-remove"}
    snapd.answers[verbs.get(args[0], "snapshot-delete")] = error
    result = svcmgr("snapshot", *args)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("svcmgr: cannot ")
    assert svcmgr("snapshot", *args, "--json").json["error"]["code"] == error.code


@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: args[0])
def test_without_snapd_and_svcmgrd_both_are_named(svcmgr, args):
    result = svcmgr("snapshot", *args)
    assert result.code == 4
    assert "snapd@v0" in result.err
    assert "svcmgr up" in result.err


@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: args[0])
def test_a_volume_name_cannot_be_a_path(svcmgr, args):
    assert svcmgr("snapshot", args[0], "../v0", *args[2:]).code == 2


def volume(status="started", **options):
    return VolumesReply([VolumeInfo("v0", "vid", ["/a"], status, 1, NOW, NOW, options)])


def row(status, **facts):
    return ServiceRow("snapd@v0", "snapd", "up", status, status, NOW, instance="v0", **facts)


USS = {"features.uss": "on"}


@pytest.mark.parametrize(
    ("volumes", "service", "words"),
    [
        (volume("stopped", **USS), row("down"), ["not started", "svcmgr volume start v0"]),
        (volume("created"), row("down"), ["not started", "svcmgr volume start v0"]),
        (volume(), row("down"), ["features.uss is off", "svcmgr volume set v0 features.uss on"]),
        (volume(**{"features.uss": "off"}), row("down"), ["svcmgr volume set v0 features.uss on"]),
        (
            volume(**USS),
            row(
                "failed",
                reason="exit code 70, 10 times",
                log="/log/snapd@v0.log",
                last_exit=Exit(NOW, 70, log_tail="bang"),
            ),
            ["failed", "exit code 70", "/log/snapd@v0.log", "svcmgr start snapd@v0", "    bang"],
        ),
        (volume(**USS), row("down"), ["snapd@v0 is down", "svcmgr start snapd@v0"]),
        (volume(**USS), row("starting", socket="/run/x.sock"), ["starting", "try again"]),
        (VolumesReply([], {"v0": "its file is damaged"}), row("down"), ["its file is damaged"]),
    ],
)
def test_svcmgrd_says_why_snapd_does_not_answer(svcmgrd, svcmgr, volumes, service, words):
    svcmgrd.answers["volume-info"] = volumes
    svcmgrd.status(service)
    result = svcmgr("snapshot", "list", "v0")
    assert result.code == 3
    assert result.out == ""
    for word in words:
        assert word in result.err
    assert svcmgr("snapshot", "list", "v0", "--json").json["error"]["code"] == "not-running"


def test_a_service_that_svcmgrd_has_not_made_yet(svcmgrd, svcmgr):
    svcmgrd.answers["volume-info"] = volume(**USS)
    svcmgrd.answers["status"] = UnknownService("cannot find service 'snapd@v0'")
    assert svcmgr("snapshot", "list", "v0").code == 3


def test_a_volume_that_does_not_exist(svcmgrd, svcmgr):
    svcmgrd.answers["volume-info"] = UnknownVolume("cannot find volume 'v0'", near=["v1"])
    result = svcmgr("snapshot", "list", "v0")
    assert (result.code, result.err) == (2, "svcmgr: cannot find volume 'v0'\n  did you mean: v1\n")


def test_snapd_is_asked_also_while_svcmgrd_is_down(snapd, svcmgr):
    snapd.answers["snapshots"] = listed()
    assert svcmgr("snapshot", "list", "v0").code == 0


def test_a_root_too_long_for_a_socket_is_followed_through_its_link(snapd, tmp_path, svcmgr):
    snapd.answers["snapshots"] = listed()
    long_root = tmp_path / ("x" * 120)
    (long_root / "run" / "services").mkdir(parents=True)
    (long_root / "run" / "services" / "snapd@v0.sock").symlink_to(snapd.socket)
    assert svcmgr("--root", str(long_root), "snapshot", "list", "v0").code == 0


def test_names_of_snapshots_are_completed(snapd, root):
    snapd.answers["snapshots"] = listed(MONDAY, COPY)
    environ = {**os.environ, "_SVCMGR_COMPLETE": "bash_complete", "COMP_CWORD": "6"}
    environ["COMP_WORDS"] = f"svcmgr --root {root} snapshot info v0 mo"
    answer = subprocess.run(
        [sys.executable, "-m", "svcmgr.cli"], env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    assert answer.stdout.split() == ["plain,monday"]
