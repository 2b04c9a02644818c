"""``svcmgr volume``: what is asked of svcmgrd, what is printed, and the exit code."""

from __future__ import annotations

import json
import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.cli.volume_args import absolute_brick, pairs
from svcmgr.errors import AlreadyExists, BadInput, Busy, UnknownOption, UnknownVolume
from svcmgr.host.wire_volumes import (
    OptionInfo,
    OptionsReply,
    ServiceOutcome,
    VolfileAsk,
    VolfileFacts,
    VolumeInfo,
    VolumeReply,
    VolumeService,
    VolumesReply,
)
from svcmgr.services.wire import VolfileReply
from tests.cli.conftest import NOW

V0 = VolumeInfo(
    "v0",
    "6ad5c1b4-0000-4000-8000-000000000001",
    ["/srv/a", "/srv/b"],
    "started",
    3,
    NOW,
    NOW + 1,
    {"features.uss": "on"},
    [VolumeService("snapd@v0", "online", True, "started, features.uss is on")],
)
BARE = VolumeInfo("v1", "6ad5c1b4-0000-4000-8000-000000000002", ["/srv/c"], "created", 1, NOW, NOW)
V0_OBJECT = {
    "name": "v0",
    "id": V0.id,
    "status": "started",
    "bricks": ["/srv/a", "/srv/b"],
    "options": {"features.uss": "on"},
    "version": 3,
    "created": "2026-01-31T08:00:00.250Z",
    "modified": "2026-01-31T08:00:01.250Z",
    "services": [
        {"name": "snapd@v0", "status": "online", "wanted": True, "reason": "started, features.uss is on"},
    ],
}
USS = OptionInfo("features.uss", "bool", "off", "on", True, "Serve the snapshots of the volume.", ["snapd"])
MOUNT = OptionInfo("features.snapshot-mount", "path", "", "", False, "Where they are mounted.", ["snapd"])

CHANGING = [
    ("create", ["v0", "/srv/a"]),
    ("start", ["v0"]),
    ("stop", ["v0"]),
    ("delete", ["v0"]),
    ("set", ["v0", "features.uss", "on"]),
    ("reset", ["v0"]),
]


def reply(*outcomes, volume=V0, **changed):
    return VolumeReply(volume, {key.replace("_", "-"): list(value) for key, value in changed.items()}, list(outcomes))


# --- the life of a volume ----------------------------------------------------------------------------------


def test_create_makes_bricks_absolute(svcmgrd, svcmgr, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    svcmgrd.answers["volume-create"] = reply(volume=BARE)
    result = svcmgr("volume", "create", "v1", "bricks/one", "/srv//b/")
    assert (result.code, result.out) == (0, "v1: created with 1 brick, not started\n")
    (request,) = svcmgrd.requests("volume-create")
    assert (request.name, request.bricks) == ("v1", [f"{Path.cwd()}/bricks/one", "/srv/b"])


def test_a_brick_that_is_empty_is_refused_before_svcmgrd_is_asked(svcmgr):
    assert svcmgr("volume", "create", "v0", "").code == 2


def test_a_volume_has_bricks(svcmgr):
    assert svcmgr("volume", "create", "v0").code == 2


@pytest.mark.parametrize("command", ["start", "stop"])
def test_an_action_waits_by_default_and_says_what_became_of_each_service(svcmgrd, svcmgr, command):
    svcmgrd.answers[f"volume-{command}"] = reply(
        ServiceOutcome("snapd@v0", "started", text="features.uss is on"), ServiceOutcome("odd@v0", "none")
    )
    result = svcmgr("volume", command, "v0", "--timeout", "7")
    assert result.code == 0
    assert result.out.splitlines() == [
        "v0: started",
        "snapd@v0: started, features.uss is on",
        "odd@v0: nothing to do",
    ]
    (request,) = svcmgrd.requests(f"volume-{command}")
    assert (request.name, request.wait, request.timeout_s) == ("v0", True, 7.0)


@pytest.mark.parametrize("command", ["start", "stop"])
def test_no_wait_is_passed_on(svcmgrd, svcmgr, command):
    svcmgrd.answers[f"volume-{command}"] = reply(ServiceOutcome("snapd@v0", f"{command}ing"))
    assert svcmgr("volume", command, "v0", "--no-wait").code == 0
    assert svcmgrd.requests(f"volume-{command}")[0].wait is False


def test_delete_says_that_the_data_stays(svcmgrd, svcmgr):
    svcmgrd.answers["volume-delete"] = reply()
    assert svcmgr("volume", "delete", "v0").out == "v0: deleted, its data stays in /srv/a, /srv/b\n"
    assert svcmgrd.requests("volume-delete")[0].name == "v0"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownVolume("cannot find volume 'v0'", near=["v1"]), 2),
        (Busy("cannot delete volume v0: it is started; stop it first"), 1),
        (AlreadyExists("cannot create volume v0"), 1),
    ],
)
@pytest.mark.parametrize(("command", "arguments"), CHANGING, ids=[name for name, _ in CHANGING])
def test_what_svcmgrd_refuses_is_one_line_and_an_object(svcmgrd, svcmgr, command, arguments, error, code):
    svcmgrd.answers[f"volume-{command}"] = error
    result = svcmgr("volume", command, *arguments)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(f"svcmgr: {error.message}\n")
    assert svcmgr("volume", command, *arguments, "--json").json["error"]["code"] == error.code


@pytest.mark.parametrize(("command", "arguments"), CHANGING, ids=[name for name, _ in CHANGING])
def test_without_svcmgrd(svcmgr, command, arguments):
    assert svcmgr("volume", command, *arguments).code == 4


# --- options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "1"], {"a": "1"}),
        (["a=1"], {"a": "1"}),
        (["a", "1", "b=2", "c", "3"], {"a": "1", "b": "2", "c": "3"}),
        (["a", "x=y", "b=x=y"], {"a": "x=y", "b": "x=y"}),
        (["a=", "b", ""], {"a": "", "b": ""}),
    ],
)
def test_pairs(words, expected):
    assert pairs(words) == expected


@pytest.mark.parametrize("words", [["a"], ["a=1", "b"], ["=1"], ["", "1"], ["a=1", "a", "2"]])
def test_pairs_that_are_none(words, svcmgr):
    with pytest.raises(BadInput):
        pairs(words)
    assert svcmgr("volume", "set", "v0", *words).code == 2


@given(
    st.dictionaries(st.text(string.ascii_lowercase + ".-", min_size=1), st.tuples(st.text(), st.booleans()), min_size=1)
)
def test_any_mixture_of_both_forms_says_the_same(wanted):
    words = [word for key, (value, apart) in wanted.items() for word in ([key, value] if apart else [f"{key}={value}"])]
    assert pairs(words) == {key: value for key, (value, _) in wanted.items()}


def test_set_shows_what_changed_and_what_was_done(svcmgrd, svcmgr):
    svcmgrd.answers["volume-set"] = VolumeReply(
        V0,
        {"features.hide-dot-snapshots": ["off", "on"], "features.snapshot-mount": ["", "/snaps"]},
        [
            ServiceOutcome("snapd@v0", "reconfigured", text="features.hide-dot-snapshots off -> on"),
            ServiceOutcome("b@v0", "restarted", text="v0-view is new at the top"),
            ServiceOutcome("c@v0", "unchanged"),
            ServiceOutcome("d@v0", "deferred", text="it does not answer"),
        ],
    )
    result = svcmgr("volume", "set", "v0", "features.hide-dot-snapshots", "on", "features.snapshot-mount=/snaps")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        'v0: features.hide-dot-snapshots off -> on, features.snapshot-mount "" -> /snaps',
        "snapd@v0: reconfigured, features.hide-dot-snapshots off -> on",
        "b@v0: restarted, v0-view is new at the top",
        "c@v0: unchanged",
        "d@v0: deferred, it does not answer",
    ]
    (request,) = svcmgrd.requests("volume-set")
    assert request.options == {"features.hide-dot-snapshots": "on", "features.snapshot-mount": "/snaps"}


def test_a_value_that_begins_with_a_dash_stands_behind_two(svcmgrd, svcmgr):
    svcmgrd.answers["volume-set"] = reply()
    assert svcmgr("volume", "set", "v0", "--", "a", "-1").code == 0
    assert svcmgrd.requests("volume-set")[0].options == {"a": "-1"}


@pytest.mark.parametrize("words", [[], ["all"], ["a", "b", "a"]])
def test_reset_takes_some_or_all(svcmgrd, svcmgr, words):
    svcmgrd.answers["volume-reset"] = reply()
    result = svcmgr("volume", "reset", "v0", *words)
    assert (result.code, result.out) == (0, "v0: nothing changed\n")
    assert svcmgrd.requests("volume-reset")[0].options == (["a", "b"] if "a" in words else [])


def test_a_service_that_failed_is_an_error_although_the_change_is_made(svcmgrd, svcmgr):
    failed = ServiceOutcome("snapd@v0", "failed", ok=False, text="cannot apply it", code="reconfigure-failed")
    svcmgrd.answers["volume-set"] = VolumeReply(V0, {"features.uss": ["off", "on"]}, [failed])
    result = svcmgr("volume", "set", "v0", "features.uss", "on")
    assert (result.code, result.out) == (1, "v0: features.uss off -> on\n")
    assert result.err == "snapd@v0: failed, cannot apply it\n"


def test_a_service_that_took_too_long_is_a_timeout(svcmgrd, svcmgr):
    late = ServiceOutcome("snapd@v0", "starting", ok=False, text="not ready after 1 s", code="timeout")
    svcmgrd.answers["volume-start"] = reply(late)
    assert svcmgr("volume", "start", "v0", "--timeout", "1").code == 5


def test_a_change_as_json_has_every_key(svcmgrd, svcmgr):
    svcmgrd.answers["volume-set"] = VolumeReply(
        V0, {"features.uss": ["off", "on"]}, [ServiceOutcome("snapd@v0", "started")]
    )
    assert svcmgr("volume", "set", "v0", "features.uss=on", "--json").json == {
        "volume": V0_OBJECT,
        "changed": {"features.uss": {"old": "off", "new": "on"}},
        "outcomes": [{"name": "snapd@v0", "action": "started", "ok": True, "text": "", "code": ""}],
    }


def test_get_of_all_is_a_table(svcmgrd, svcmgr):
    svcmgrd.answers["volume-options"] = OptionsReply([USS, MOUNT])
    for words in ([], ["all"]):
        lines = svcmgr("volume", "get", "v0", *words).out.splitlines()
        assert [line.split() for line in lines] == [
            ["OPTION", "VALUE", "SET", "DEFAULT"],
            ["features.uss", "on", "yes", "off"],
            ["features.snapshot-mount", "-", "no", "-"],
        ]
    assert [(one.name, one.options) for one in svcmgrd.requests("volume-options")] == [("v0", [])] * 2


def test_get_of_one_is_its_value(svcmgrd, svcmgr):
    svcmgrd.answers["volume-options"] = OptionsReply([USS])
    assert svcmgr("volume", "get", "v0", "features.uss").out == "on\n"
    assert svcmgrd.requests("volume-options")[0].options == ["features.uss"]


def test_get_as_json(svcmgrd, svcmgr):
    svcmgrd.answers["volume-options"] = OptionsReply([USS])
    assert svcmgr("volume", "get", "v0", "features.uss", "--json").json == {
        "volume": "v0",
        "options": [
            {
                "name": "features.uss",
                "type": "bool",
                "default": "off",
                "value": "on",
                "is_set": True,
                "kinds": ["snapd"],
                "help": "Serve the snapshots of the volume.",
            }
        ],
    }


def test_all_and_others_is_refused(svcmgr):
    assert svcmgr("volume", "get", "v0", "all", "features.uss").code == 2
    assert svcmgr("volume", "reset", "v0", "all", "features.uss").code == 2


def test_an_unknown_option_has_near_ones(svcmgrd, svcmgr):
    svcmgrd.answers["volume-options"] = UnknownOption("cannot find option 'features.us'", near=["features.uss"])
    result = svcmgr("volume", "get", "v0", "features.us")
    assert (result.code, result.err) == (
        2,
        "svcmgr: cannot find option 'features.us'\n  did you mean: features.uss\n",
    )


def test_options_need_no_volume(svcmgrd, svcmgr):
    svcmgrd.answers["volume-options"] = OptionsReply([USS, MOUNT])
    assert svcmgr("volume", "options").out.splitlines() == [
        "features.uss: bool, default off, for snapd",
        "    Serve the snapshots of the volume.",
        "features.snapshot-mount: path, empty by default, for snapd",
        "    Where they are mounted.",
    ]
    assert svcmgrd.requests("volume-options")[0].name == ""
    first = svcmgr("volume", "options", "--json").json["options"][0]
    assert first == {
        "name": "features.uss",
        "type": "bool",
        "default": "off",
        "kinds": ["snapd"],
        "help": "Serve the snapshots of the volume.",
    }


# --- what there is -----------------------------------------------------------------------------------------


def test_list(svcmgrd, svcmgr):
    svcmgrd.answers["volume-info"] = VolumesReply([V0, BARE])
    lines = svcmgr("volume", "list").out.splitlines()
    assert [line.split(maxsplit=5) for line in lines] == [
        ["NAME", "STATUS", "BRICKS", "OPTIONS", "VERSION", "SERVICES"],
        ["v0", "started", "2", "1", "3", "snapd@v0 online"],
        ["v1", "created", "1", "0", "1", "-"],
    ]
    assert svcmgrd.requests("volume-info")[0].names == []


ASKS = [VolfileAsk("snapd/v0", 2, NOW, 4711, 0, 612), VolfileAsk("snapd/v1", 0, bytes=600)]


def test_volfiles(svcmgrd, svcmgr):
    svcmgrd.answers["volfile-facts"] = VolfileFacts(ASKS, 1, 2, 1224)
    lines = svcmgr("volume", "volfiles").out.splitlines()
    assert [line.split() for line in lines] == [
        ["ID", "BYTES", "ASKED", "LAST", "PID", "UID"],
        ["snapd/v0", "612", "2", "2026-01-31T08:00:00.250Z", "4711", "0"],
        ["snapd/v1", "600", "0", "-", "-", "-"],
        ["2", "requests", "served,", "1", "refused"],
    ]
    document = json.loads(svcmgr("volume", "volfiles", "--json").out)
    assert [one["last_pid"] for one in document["volfiles"]] == [4711, None]
    assert (document["served"], document["refused"], document["bytes"]) == (2, 1, 1224)


def test_volfile(svcmgrd, svcmgr):
    svcmgrd.answers["volfile"] = VolfileReply("volume v0\nend-volume\n", "abc")
    assert svcmgr("volume", "volfile", "snapd/v0").out == "volume v0\nend-volume\n"
    assert svcmgrd.requests("volfile")[0].id == "snapd/v0"
    document = json.loads(svcmgr("volume", "volfile", "snapd/v0", "--json").out)
    assert document == {"id": "snapd/v0", "checksum": "abc", "text": "volume v0\nend-volume\n"}
    svcmgrd.answers["volfile"] = BadInput("cannot serve volfile 'v'")
    assert svcmgr("volume", "volfile", "v").code == 2


def test_info(svcmgrd, svcmgr):
    svcmgrd.answers["volume-info"] = VolumesReply([V0, BARE])
    result = svcmgr("volume", "info", "v*")
    assert result.code == 0
    assert result.out.splitlines()[:12] == [
        "v0",
        f"  id: {V0.id}",
        "  status: started",
        "  version: 3",
        "  created: 2026-01-31T08:00:00.250Z",
        "  modified: 2026-01-31T08:00:01.250Z",
        "  bricks:",
        "    1: /srv/a",
        "    2: /srv/b",
        "  options:",
        "    features.uss: on",
        "  services:",
    ]
    assert "    snapd@v0: online, wanted: started, features.uss is on" in result.out
    assert result.out.endswith("  options: -\n  services: -\n")
    assert svcmgrd.requests("volume-info")[0].names == ["v*"]


@pytest.mark.parametrize("command", ["info", "list"])
def test_volumes_as_json(svcmgrd, svcmgr, command):
    svcmgrd.answers["volume-info"] = VolumesReply([V0], {"v9": "cannot use v9.json"})
    assert svcmgr("volume", command, "--json").json == {"volumes": [V0_OBJECT], "invalid": {"v9": "cannot use v9.json"}}


def test_no_volumes(svcmgrd, svcmgr):
    svcmgrd.answers["volume-info"] = VolumesReply([])
    assert svcmgr("volume", "list").out == svcmgr("volume", "info").out == "no volumes\n"


def test_a_damaged_volume_is_shown_and_fails_who_asked_for_it(svcmgrd, svcmgr):
    svcmgrd.answers["volume-info"] = VolumesReply([], {"v9": "its file is \x1b[31mdamaged"})
    result = svcmgr("volume", "info", "v9")
    assert result.code == 1
    assert "invalid volume v9: its file is \\x1b[31mdamaged" in result.out
    assert svcmgr("volume", "info").code == svcmgr("volume", "list").code == 0


# --- bricks and completion ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("brick", "expected"),
    [("b", "HERE/b"), ("./b/", "HERE/b"), ("/b", "/b"), ("//b//c/.", "/b/c"), ("a b", "HERE/a b"), (".", "HERE")],
)
def test_absolute_bricks(tmp_path, monkeypatch, brick, expected):
    monkeypatch.chdir(tmp_path)
    assert absolute_brick(brick) == expected.replace("HERE", os.getcwd())


def test_two_dots_behind_a_link_go_where_the_kernel_goes(tmp_path, monkeypatch):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    assert absolute_brick("link/../b") == f"{here}/far/b"
    assert absolute_brick("../b") == f"{os.path.dirname(here)}/b"


def test_without_a_current_directory_bricks_are_absolute(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert absolute_brick("/srv/b") == "/srv/b"
    with pytest.raises(BadInput):
        absolute_brick("b")


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        (["volume", "start"], "v", ["v0", "v1"]),
        (["volume", "info", "v0"], "v1", ["v1"]),
        (["volume", "get", "v0"], "features.u", ["features.uss"]),
        (["volume"], "s", ["start", "stop", "set"]),
    ],
)
def test_the_shell_completes(svcmgrd, root, words, incomplete, expected):
    from click.shell_completion import ShellComplete

    from svcmgr.cli.group import cli

    svcmgrd.answers["volume-info"] = VolumesReply([V0, BARE])
    svcmgrd.answers["volume-options"] = OptionsReply([USS, MOUNT])
    found = ShellComplete(cli, {}, "svcmgr", "_X").get_completions(["--root", str(root), *words], incomplete)
    assert [item.value for item in found] == expected


def test_the_shell_completes_nothing_without_svcmgrd(root):
    from click.shell_completion import ShellComplete

    from svcmgr.cli.group import cli

    found = ShellComplete(cli, {}, "svcmgr", "_X").get_completions(["--root", str(root), "volume", "start"], "v")
    assert found == []
