"""From a definition to the description of the next process."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path

import pytest

from svcmgr.errors import SpawnFailed, StorageFailed
from svcmgr.paths import resolve
from svcmgr.svc import launch
from svcmgr.svc.launch import Place, base_environment, environment
from tests.kit.world import make_spec

LAYOUT = resolve("/r", {}, 1)
MARK = {"SVCMGR_SERVICE": "web", "SVCMGR_ROOT": "/r/run", "SVCMGR_INCARNATION": "3"}


def test_what_is_about_svcmgrd_is_not_handed_down() -> None:
    ours = {
        "NOTIFY_SOCKET": "/x",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDNAMES": "a",
        "SVCMGR_ROOT": "/else",
        "SVCMGR_SERVICE": "outer",
    }
    kept = {"PATH": "/bin", "HOME": "/root", "LC_ALL": "C"}
    assert base_environment({**ours, **kept}) == kept


def test_there_is_always_a_path() -> None:
    assert "/usr/bin" in base_environment({})["PATH"].split(":")
    assert base_environment({"PATH": "/mine"})["PATH"] == "/mine"


def test_the_definition_wins_over_everything_but_the_marker() -> None:
    spec = make_spec("web", env={"A": "spec", "B": "spec", "C": "spec", "SVCMGR_SERVICE": "forged"})
    env = environment(spec, {"A": "base", "PATH": "/bin"}, MARK, {"B": "kind", "D": "kind"})
    assert env == {"A": "spec", "B": "spec", "C": "spec", "D": "kind", "PATH": "/bin", **MARK}


def test_a_clean_environment_keeps_three_variables() -> None:
    spec = make_spec("web", env={"A": "1"}, env_clean=True)
    base = {"PATH": "/bin", "LANG": "C", "TZ": "UTC", "HOME": "/root", "SECRET": "x"}
    assert environment(spec, base, MARK, {}) == {"PATH": "/bin", "LANG": "C", "TZ": "UTC", "A": "1", **MARK}
    assert environment(spec, {}, MARK, {}) == {"A": "1", **MARK}


def test_a_removed_variable_is_gone_at_the_next_start() -> None:
    base = {"PATH": "/bin"}
    environment(make_spec("web", env={"OLD": "1"}), base, MARK, {})
    assert "OLD" not in environment(make_spec("web"), base, MARK, {})


@pytest.mark.parametrize("form", ["name", "number"])
def test_a_user_brings_its_home(form: str) -> None:
    entry = pwd.getpwuid(os.getuid())
    user = entry.pw_name if form == "name" else str(entry.pw_uid)
    env = environment(make_spec("web", user=user), {"HOME": "/wrong", "USER": "wrong"}, MARK, {})
    assert (env["HOME"], env["USER"], env["LOGNAME"]) == (entry.pw_dir, entry.pw_name, entry.pw_name)


def test_the_definition_may_name_another_home() -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    assert environment(make_spec("web", user=user, env={"HOME": "/mine"}), {}, MARK, {})["HOME"] == "/mine"


def test_an_unknown_user_is_refused_and_an_unknown_number_is_not() -> None:
    with pytest.raises(SpawnFailed, match="cannot start as user 'no-such-user'"):
        environment(make_spec("web", user="no-such-user"), {}, MARK, {})
    assert "HOME" not in environment(make_spec("web", user="4000000"), {}, MARK, {})


def test_the_marker() -> None:
    assert launch.marker("web", LAYOUT, 3) == MARK


def test_the_standard_flags() -> None:
    always = ("-p", "/r/run/services/web.pid", "-l", "/r/log/web.log")
    control = Path("/r/run/svcmgrd.sock")
    assert launch.standard_flags("web", LAYOUT, None, None, control) == always
    assert launch.standard_flags("web", LAYOUT, Path("/s"), None, control) == (*always, "-S", "/s")
    assert launch.standard_flags("web", LAYOUT, Path("/s"), "web", control) == (
        *always,
        *("-S", "/s", "-s", "/r/run/svcmgrd.sock", "--volfile-id", "web"),
    )


def test_the_process_of_a_plain_program() -> None:
    spec = make_spec("web", stop_signal="SIGINT", stop_grace=3.0, umask=0o077, nice=4, rlimits={"core": (0, 0)})
    proc = launch.process_spec(spec, Place(LAYOUT, None, None, None), ("x", "y"), MARK, speaks=False)
    assert (proc.name, proc.argv, proc.env) == ("web", ("x", "y"), MARK)
    assert (proc.pidfile, proc.write_pidfile, proc.forks) == (LAYOUT.service_pidfile("web"), True, False)
    assert (proc.stop.signal, proc.stop.grace_s) == (signal.SIGINT, 3.0)
    assert (proc.umask, proc.nice, proc.rlimits) == (0o077, 4, {"core": (0, 0)})
    assert (proc.logdir, proc.logfile) == (LAYOUT.log, LAYOUT.service_log("web"))
    assert proc.marker is not None


def test_a_daemon_that_speaks_or_forks_writes_its_own_pidfile() -> None:
    place = Place(LAYOUT, None, Path("/v"), None)
    speaking = launch.process_spec(make_spec("d"), place, ("x",), MARK, speaks=True)
    assert speaking.volfile == Path("/v")
    assert (speaking.pidfile, speaking.write_pidfile) == (LAYOUT.service_pidfile("d"), False)
    place = Place(LAYOUT, None, None, Path("/p"))
    forking = launch.process_spec(make_spec("d"), place, ("x",), MARK, speaks=False)
    assert (forking.pidfile, forking.write_pidfile, forking.forks) == (Path("/p"), False, True)


def test_a_control_group_where_the_host_and_the_definition_want_one() -> None:
    def group(base: Path | None, *, wanted: bool) -> Path | None:
        place = Place(LAYOUT, base, None, None)
        return launch.process_spec(make_spec("web", cgroup=wanted), place, ("x",), MARK, speaks=False).cgroup

    found = group(Path("/cg"), wanted=True)
    assert found is not None
    assert found.parent == Path("/cg")
    assert group(Path("/cg"), wanted=False) is None
    assert group(None, wanted=True) is None


def test_a_probe_has_no_pidfile_and_little_grace() -> None:
    probe = launch.probe_spec(make_spec("web", stop_grace=60.0), LAYOUT, ("check",), MARK)
    assert (probe.pidfile, probe.write_pidfile) == (None, False)
    assert probe.stop.grace_s < 1


# --- volfiles ------------------------------------------------------------------------------------------------


def test_a_volfile_is_written_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "volfiles" / "web.vol"
    assert launch.write_volfile(path, "one") == path
    first = path.stat()
    assert launch.write_volfile(path, "one") == path
    assert path.stat().st_ino == first.st_ino
    assert path.stat().st_mtime_ns == first.st_mtime_ns
    assert launch.write_volfile(path, "two") == path
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["web.vol"]


def test_no_volfile_writes_nothing(tmp_path: Path) -> None:
    assert launch.write_volfile(tmp_path / "v" / "web.vol", None) is None
    assert list(tmp_path.iterdir()) == []


def test_an_empty_volfile_is_a_volfile(tmp_path: Path) -> None:
    path = tmp_path / "web.vol"
    assert launch.write_volfile(path, "") == path
    assert path.read_bytes() == b""


def test_a_volfile_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed):
        launch.write_volfile(tmp_path / "file" / "web.vol", "x")
    (tmp_path / "web.vol").mkdir()
    with pytest.raises(StorageFailed):
        launch.write_volfile(tmp_path / "web.vol", "x")
