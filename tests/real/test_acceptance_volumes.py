"""Volumes, volfiles and snapd: acceptance cases 37 to 39, 46, 51, 53 and 54, with true processes and mounts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcmgr.conn.blocking import BlockingClient
from svcmgr.errors import BadInput
from svcmgr.proc.mounts import mounted_at
from svcmgr.services.wire import VolfileReply
from svcmgr.svc.configuring import checksum
from tests.kit.rootdir import PYTHON, Root, alive, until
from tests.kit.volumes import (
    USS,
    as_user,
    asked,
    open_place,
    read_as_user,
    serving,
    snapshot,
    started,
    view_of,
    volume,
)

HIDE = "features.hide-dot-snapshots"
MOUNT = "features.snapshot-mount"
VIEW = "features.snapshot-view"


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as found:
        yield found


@pytest.fixture
def own(place, make_root) -> Root:
    """A root of its own, ended before ``place`` goes: volumes outlive what a shared one is cleared of."""
    root = make_root()
    root.up()
    return root


def configured(root: Root, name: str) -> dict[str, object]:
    """What snapd says about its configuration in force."""
    with BlockingClient(root.layout.service_socket(f"snapd@{name}"), timeout=10.0) as client:
        facts: dict[str, object] = client.call("statistics", None)["configured"]
    return facts


def served(root: Root, volfile_id: str) -> VolfileReply:
    with root.client() as client:
        return client.call("volfile", {"id": volfile_id}, type=VolfileReply)


# --- 37 to 39: configuration -------------------------------------------------------------------------------------


def test_case_37_the_same_content_notifies_and_restarts_nobody(own, place):
    pid = started(own, "v", place / "v", place / "view")
    before, count = configured(own, "v"), asked(own, "v")
    reply = volume(own, "set", "v", USS, "yes")
    assert (reply["changed"], reply["outcomes"]) == ({}, [])
    assert own.row("snapd@v")["pid"] == pid
    assert (configured(own, "v"), asked(own, "v")) == (before, count)


def test_case_37_an_option_is_told_to_the_same_process_which_confirms(own, place):
    pid = started(own, "v", place / "v", place / "view")
    count = asked(own, "v")
    reply = volume(own, "set", "v", HIDE, "on")
    (outcome,) = reply["outcomes"]
    assert (outcome["name"], outcome["action"], outcome["ok"]) == ("snapd@v", "reconfigured", True)
    assert own.row("snapd@v")["pid"] == pid
    assert asked(own, "v") == count + 1
    (ask,) = [one for one in own.call("volfile-facts")["asks"] if one["id"] == "snapd/v"]
    assert ask["last_pid"] == pid
    facts = configured(own, "v")
    assert (facts["result"], facts["checksum"]) == ("configured", served(own, "snapd/v").checksum)
    assert [e["fields"]["text"] for e in own.events("snapd@v", "reconfigured")] == ["reconfigured: hide-dot off -> on"]


def test_case_37_another_shape_restarts_and_says_why(own, place):
    pid = started(own, "v", place / "v", place / "view")
    (outcome,) = volume(own, "set", "v", VIEW, "off")["outcomes"]
    assert (outcome["action"], outcome["ok"]) == ("restarted", True)
    row = own.row("snapd@v")
    assert row["pid"] not in (None, pid)
    assert not alive(pid)
    assert row["reason"].startswith("restarted: ")
    assert "v-view" in row["reason"]
    assert row["reason"].removeprefix("restarted: ") in own.events("snapd@v", "reconfigured")[-1]["fields"]["text"]
    assert mounted_at(place / "view") is None
    volume(own, "set", "v", VIEW, "on")
    serving(own, "v")


def test_case_38_a_refused_volfile_leaves_the_daemon_as_it_is(own, place):
    pid = started(own, "v", place / "v", place / "view")
    (place / "file").write_text("in the way")
    before, text = volume(own, "info", "v"), served(own, "snapd/v").text
    done = own.cli("volume", "set", "v", MOUNT, str(place / "file"), code=1)
    assert str(place / "file") in done.stderr
    after = volume(own, "info", "v")
    assert before["volumes"][0]["options"] == after["volumes"][0]["options"]
    assert served(own, "snapd/v").text == text
    assert serving(own, "v") == pid
    assert (place / "file").read_text() == "in the way"
    snapshot(own, "create", "v", "one")
    assert os.listdir(place / "view") == ["one"]


def test_case_39_a_change_for_one_volume_touches_no_other(own, place):
    pids = {name: started(own, name, place / name, place / f"view-{name}") for name in ("v", "w")}
    own.add("web", ["/bin/sleep", "600"], start=True, ready="none")
    web, count = own.row("web")["pid"], asked(own, "w")
    version = own.row("snapd@w")
    volume(own, "set", "v", HIDE, "on")
    volume(own, "set", "v", VIEW, "off")
    volume(own, "stop", "v")
    assert own.row("snapd@w") == version
    assert own.row("snapd@w")["pid"] == pids["w"]
    assert (own.row("web")["pid"], asked(own, "w")) == (web, count)


# --- 46: the volfile server --------------------------------------------------------------------------------------


def test_case_46_an_unknown_id_ends_a_daemon_with_2_and_a_known_one_is_served(own, place):
    started(own, "v", place / "v", place / "view")
    reply = served(own, "snapd/v")
    assert reply.checksum == checksum(reply.text)
    assert reply.text == own.layout.service_volfile("snapd@v").read_text()
    for wrong in ("snapd/w", "snapd/v ", "snapd", "v", "snapd/v/../v", "", "x" * 300, "snapd@v"):
        with pytest.raises(BadInput):
            served(own, wrong)
    control = str(own.layout.control_socket)
    argv = [PYTHON, "-m", "svcmgr.services", "svcmgr.services.snapd.daemon:Snapd", "-s", control]
    done = subprocess.run(
        [*argv, "--volfile-id", "snapd/w"], env=own.environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "snapd/w" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_volfile_server_answers_while_the_supervisor_is_busy(own, place):
    started(own, "v", place / "v", place / "view")
    for number in range(30):
        own.define(f"s{number}", ["/bin/sh", "-c", "exit 1"], restart="always", restart_delay=0.001, ready="none")
    reading = own.popen("reload", "--yes") if "--yes" in own.cli("reload", "--help").stdout else own.popen("reload")
    for _ in range(50):
        assert served(own, "snapd/v").checksum
    reading.communicate(timeout=60)


# --- 51: who wants to run ----------------------------------------------------------------------------------------


def test_case_51_snapd_follows_the_volume_and_the_option(own, place):
    volume(own, "create", "v", str(place / "v"))
    volume(own, "set", "v", MOUNT, str(place / "view"))
    (outcome,) = volume(own, "set", "v", USS, "on")["outcomes"]
    assert (outcome["action"], own.row("snapd@v")["status"]) == ("none", "down")
    assert "svcmgr volume start v" in own.row("snapd@v")["reason"]
    (outcome,) = volume(own, "start", "v")["outcomes"]
    assert outcome["action"] == "started"
    pid = serving(own, "v")
    (outcome,) = volume(own, "stop", "v")["outcomes"]
    assert outcome["action"] == "stopped"
    assert (own.row("snapd@v")["status"], alive(pid), mounted_at(place / "view")) == ("down", False, None)
    volume(own, "start", "v")
    pid = serving(own, "v")
    (outcome,) = volume(own, "set", "v", USS, "off")["outcomes"]
    assert (outcome["action"], alive(pid), mounted_at(place / "view")) == ("stopped", False, None)


def test_case_51_turned_on_and_off_while_svcmgrd_is_down(own, place):
    pid = started(own, "v", place / "v", place / "view")
    volume(own, "create", "w", str(place / "w"))
    volume(own, "set", "w", MOUNT, str(place / "view-w"))
    volume(own, "start", "w")
    own.kill()
    for name, value in (("v", "off"), ("w", "on")):
        path = own.layout.state / "volumes" / f"{name}.json"
        stored = json.loads(path.read_text())
        stored["options"][USS] = value
        path.write_text(json.dumps(stored))
    own.up()
    serving(own, "w")
    until(lambda: own.row("snapd@v")["status"] == "down", "the end of snapd@v")
    assert (alive(pid), mounted_at(place / "view")) == (False, None)


# --- 53 and 54: what users get -----------------------------------------------------------------------------------


def test_case_53_only_activated_snapshots_are_shown_and_nobody_writes(own, place):
    started(own, "v", place / "v", place / "view")
    (place / "v" / "notes").write_text("old")
    for name in ("one", "two"):
        snapshot(own, "create", "v", name)
    view = place / "view"
    assert as_user("ls", str(view)).stdout.split() == ["one", "two"]
    snapshot(own, "deactivate", "v", "one")
    until(lambda: as_user("ls", str(view)).stdout.split() == ["two"], "one is hidden")
    until(lambda: read_as_user(view / "one" / "notes") is None, "one is closed")
    snapshot(own, "activate", "v", "one")
    until(lambda: read_as_user(view / "one" / "notes") == "old", "one is back")
    for script in (
        "echo x > two/notes",
        "touch two/new",
        "rm two/notes",
        "mkdir x",
        "mv two three",
        "chmod 600 two/notes",
    ):
        done = subprocess.run(["/bin/sh", "-c", f"cd {view} && {script}"], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr, f"{script}: {done.stderr}"
    assert read_as_user(view / "two" / "notes") == "old"


def test_case_54_snapd_is_killed_and_the_volume_goes_on(own, place):
    pid, other = started(own, "v", place / "v", place / "view"), started(own, "w", place / "w", place / "view-w")
    (place / "v" / "notes").write_text("old")
    snapshot(own, "create", "v", "one")
    with open(place / "v" / "notes", "a") as file:
        os.kill(pid, signal.SIGKILL)
        file.write("er")
        file.flush()
        assert (place / "v" / "notes").read_text() == "older"
        until(lambda: own.row("snapd@v")["pid"] not in (None, pid), "another snapd")
    serving(own, "v")
    assert read_as_user(place / "view" / "one" / "notes") == "old"
    assert own.row("snapd@w")["pid"] == other
    assert view_of(own, "w") == place / "view-w"


def test_a_killed_snapd_that_is_not_started_again_leaves_no_dead_mount(own, place):
    pid = started(own, "v", place / "v", place / "view")
    own.act("stop", "snapd@v")
    assert (alive(pid), mounted_at(place / "view")) == (False, None)
    own.act("start", "snapd@v")
    pid = serving(own, "v")
    own.kill()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "its end")
    path = own.layout.state / "volumes" / "v.json"
    stored = json.loads(path.read_text())
    stored["options"][USS] = "off"
    path.write_text(json.dumps(stored))
    own.up()
    until(lambda: mounted_at(place / "view") is None, "the dead mount is taken away")
    assert os.listdir(place / "view") == []
