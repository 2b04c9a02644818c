"""What a started program finds itself in, and what is said when it cannot be started."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
import resource
import signal
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import Busy, NotRunning, PidfileHeld, PidfileUnusable, SpawnFailed, StorageFailed
from svcmgr.proc import ExitStatus, StopResult, procfs
from tests.kit.procs import PYTHON, Host, host, open_descriptors, py, running, sh, until

FACTS = py(
    """
import json, os, resource, signal, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
mask = os.umask(0)
print(json.dumps({
    "pid": os.getpid(), "sid": os.getsid(0), "pgid": os.getpgid(0), "cwd": os.getcwd(), "env": dict(os.environ),
    "umask": mask, "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "nice": os.getpriority(os.PRIO_PROCESS, 0), "fds": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    "stdin": os.readlink("/proc/self/fd/0"), "ignored": int(status["SigIgn"], 16), "blocked": int(status["SigBlk"], 16),
    "append": bool(__import__("fcntl").fcntl(1, 3) & os.O_APPEND),
}))
"""
)


def run(tmp_path: Path, check: Callable[[Host], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with host(tmp_path) as it:
            await check(it)

    asyncio.run(inside())


async def facts_of(it: Host, **changes: Any) -> dict[str, Any]:
    process = it.process("facts", FACTS, **changes)
    process.spawn()
    await it.exit_of("facts")
    facts: dict[str, Any] = json.loads(it.log("facts"))
    return facts


def test_own_session_and_nothing_inherited(tmp_path: Path) -> None:
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)

    async def check(it: Host) -> None:
        facts = await facts_of(it)
        assert facts["sid"] == facts["pgid"] == facts["pid"]
        assert facts["cwd"] == "/"
        assert facts["stdin"] == "/dev/null"
        assert facts["fds"] == [0, 1, 2]
        assert facts["append"]
        assert facts["umask"] == 0o022
        assert {key: facts["env"][key] for key in ("SVCMGR_SERVICE", "SVCMGR_ROOT")} == {
            "SVCMGR_SERVICE": "facts",
            "SVCMGR_ROOT": str(tmp_path),
        }
        assert "HOME" not in facts["env"]

    try:
        run(tmp_path, check)
    finally:
        os.close(leak)


def test_signal_dispositions_and_mask_are_fresh(tmp_path: Path) -> None:
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    usr = signal.signal(signal.SIGUSR1, lambda *_: None)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

    async def check(it: Host) -> None:
        facts = await facts_of(it)
        # Python itself ignores SIGPIPE and SIGXFSZ in the child. 32 and 33 are the C library's own: posix_spawn leaves
        # them ignored where its parent has threads, and no program can use them (nptl(7)).
        own = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1) | (1 << 31) | (1 << 32)
        assert facts["ignored"] & ~own == 0
        assert facts["blocked"] == 0
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())

    try:
        run(tmp_path, check)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, hup)
        signal.signal(signal.SIGUSR1, usr)


def test_cwd_env_umask(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        facts = await facts_of(it, cwd=tmp_path, umask=0o077, env={"A": "b c", "PATH": "/bin"})
        assert facts["cwd"] == str(tmp_path)
        assert facts["umask"] == 0o077
        assert {k: v for k, v in facts["env"].items() if k != "LC_CTYPE"} == {"A": "b c", "PATH": "/bin"}

    run(tmp_path, check)


def test_rlimits_and_nice(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def check(it: Host) -> None:
        facts = await facts_of(it, rlimits={"nofile": (64, 128), "core": (0, 0)}, nice=5)
        assert facts["nofile"] == [64, 128]
        assert facts["core"] == [0, 0]
        assert facts["nice"] == os.getpriority(os.PRIO_PROCESS, 0) + 5
        assert facts["sid"] == facts["pid"]

    run(tmp_path, check)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


WHO = sh("grep -E '^(Uid|Gid|Groups):' /proc/self/status; nice; grep 'Max open files' /proc/self/limits")


async def who_of(it: Host, **changes: Any) -> dict[str, Any]:
    """Credentials as seen from inside; by a shell, since a test interpreter may be out of reach of other users."""
    process = it.process("who", WHO, **changes)
    if os.geteuid() != 0:
        with pytest.raises(SpawnFailed, match=r"only root may become|user nobody"):
            process.spawn()
        return {}
    process.spawn()
    assert await it.exit_of("who") == ExitStatus(code=0)
    lines = it.log("who").splitlines()
    facts: dict[str, Any] = {
        key: list(map(int, rest.split())) for key, _, rest in (one.partition(":") for one in lines[:3])
    }
    return {**facts, "nice": int(lines[3]), "nofile": lines[4].split()[3:5]}


def test_user_brings_its_groups_and_owns_its_log(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")

    async def check(it: Host) -> None:
        if facts := await who_of(it, user="nobody"):
            assert facts["Uid"] == [nobody.pw_uid] * 4
            assert facts["Gid"] == [nobody.pw_gid] * 4
            assert facts["Groups"] == os.getgrouplist("nobody", nobody.pw_gid)
            assert (tmp_path / "log/who.log").stat().st_uid == nobody.pw_uid

    run(tmp_path, check)


def test_limits_are_raised_before_the_user_is_changed(tmp_path: Path) -> None:
    # A negative niceness is refused to an ordinary user.
    async def check(it: Host) -> None:
        if facts := await who_of(it, user="nobody", group="daemon", rlimits={"nofile": (64, 65)}, nice=-3):
            assert facts["nice"] == -3
            assert facts["nofile"] == ["64", "65"]
            assert facts["Uid"] == [pwd.getpwnam("nobody").pw_uid] * 4
            assert facts["Gid"] == [grp.getgrnam("daemon").gr_gid] * 4

    run(tmp_path, check)


@pytest.mark.parametrize(
    ("changes", "argv", "says"),
    [
        ({}, ("no-such-command",), ["command 'no-such-command'", "PATH '/usr/bin:/bin'", "No such file"]),
        ({}, ("/no/such/command",), ["command '/no/such/command'", "errno 2"]),
        ({}, ("{tmp}/plain",), ["{tmp}/plain", "Permission denied", "errno 13"]),
        ({}, ("{tmp}",), ["{tmp}", "Permission denied"]),
        ({}, ("{tmp}/badscript",), ["interpreter"]),
        ({}, ("{tmp}/garbage",), ["neither a program nor a script"]),
        ({"cwd": "{tmp}/nowhere"}, ("true",), ["working directory {tmp}/nowhere", "No such file"]),
        ({"cwd": "{tmp}/plain"}, ("true",), ["working directory {tmp}/plain", "Not a directory"]),
        ({"user": "no-such-user"}, ("true",), ["no user 'no-such-user'"]),
        ({"user": "99999999999999"}, ("true",), ["no user '99999999999999'"]),
        ({"group": "no-such-group"}, ("true",), ["no group 'no-such-group'"]),
        ({"nice": 1}, ("/no/such/command",), ["command '/no/such/command'", "errno 2"]),
        (
            {"rlimits": {"nproc": (1 << 62, 1 << 62)}, "user": "nobody", "cwd": "/no"},
            ("true",),
            ["working directory /no"],
        ),
        ({"logfile": "{tmp}"}, ("true",), ["log file {tmp}", "Is a directory"]),
        ({"logfile": "{tmp}/fifo"}, ("true",), ["log file {tmp}/fifo"]),
        ({"logfile": "{tmp}/link"}, ("true",), ["log file {tmp}/link (it is a symbolic link)"]),
    ],
)
def test_spawn_failures_name_the_culprit(
    tmp_path: Path, changes: dict[str, Any], argv: tuple[str, ...], says: list[str]
) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "badscript").write_text("#!/no/such/interpreter\n")
    (tmp_path / "badscript").chmod(0o755)
    (tmp_path / "garbage").write_bytes(b"\x01\x02\x03")
    (tmp_path / "garbage").chmod(0o755)
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")

    def here(text: Any) -> Any:
        return text.replace("{tmp}", str(tmp_path)) if isinstance(text, str) else text

    async def check(it: Host) -> None:
        paths = {k: Path(here(v)) if k in ("cwd", "logfile") else v for k, v in changes.items()}
        process = it.process("bad", tuple(map(here, argv)), **paths)
        before = open_descriptors()
        with pytest.raises(SpawnFailed) as caught:
            process.spawn()
        assert caught.value.message.startswith("cannot start bad: ")
        for word in says:
            assert here(word) in caught.value.message
        assert open_descriptors() == before
        assert process.identity is None
        assert it.marked() == []

    run(tmp_path, check)


def test_a_limit_that_cannot_be_set_is_named(tmp_path: Path) -> None:
    # As an ordinary user a hard limit cannot be raised; this needs a process that is one.
    script = f"""
import os, resource, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from svcmgr.errors import SpawnFailed
from svcmgr.proc import RealOs, ProcSpec
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
for changes in ({{"rlimits": {{"nofile": (200, 200)}}}}, {{"user": "root", "nice": 1}}, {{"user": "root"}}):
    try:
        spec = ProcSpec(name="a", argv=("/bin/true",), logdir=Path("/dev"), logfile=Path("/dev/null"), **changes)
        RealOs().spawn(spec)
    except SpawnFailed as error:
        print(error.message)
"""

    async def check(it: Host) -> None:
        process = it.process("limits", (PYTHON, "-c", script))
        process.spawn()
        assert await it.exit_of("limits") == ExitStatus(code=0), it.log("limits")
        limit, user, alone = it.log("limits").splitlines()
        assert "limit nofile = 200:200" in limit
        assert "user root" in user
        assert "only root may become user root" in alone

    for place in (tmp_path, *tmp_path.parents[:2]):
        os.chmod(place, 0o755)
    run(tmp_path, check)


def test_no_descriptor_left_is_a_spawn_failure_not_an_orphan(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("tight", sh("sleep 1000"))
        refusals: list[str] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for spare in range(8):
            top = max(map(int, os.listdir("/proc/self/fd"))) + 1
            filler = [os.open("/dev/null", os.O_RDONLY) for _ in range(top - open_descriptors())]
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() - 1 + spare, hard))
            try:
                process.spawn()
            except SpawnFailed as error:
                refusals.append(error.message)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in filler:
                    os.close(fd)
            if process.identity is not None:
                break
            assert it.marked() == []
        assert len(refusals) > 2
        assert all("Too many open files" in one for one in refusals)
        process.stop(force=True)
        await process.wait_gone()

    run(tmp_path, check)


def test_a_child_that_cannot_be_watched_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(it: Host) -> None:
        process = it.process("blind", sh("sleep 1000 & wait"))

        def refuse(pid: int) -> int:
            # Late enough for the program to have children already.
            end = time.monotonic() + 10
            while not procfs.children(pid):
                assert time.monotonic() < end
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(os, "pidfd_open", refuse)
        with pytest.raises(SpawnFailed, match="cannot be watched"):
            process.spawn()
        monkeypatch.undo()
        assert it.marked() == []

    run(tmp_path, check)


def test_log_is_appended_to_and_directories_are_made(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        deep = tmp_path / "a/b/c"
        log = deep / "x.log"
        process = it.process(
            "log", sh("echo out; echo err >&2"), logdir=deep, logfile=log, pidfile=tmp_path / "p/q/pid"
        )
        log.write_text("before\n")
        process.spawn()
        await it.exit_of("log")
        assert log.read_text() == "before\nout\nerr\n"
        assert (tmp_path / "p/q").is_dir()
        process.init(it.spec("log", sh("true"), logdir=deep, logfile=tmp_path / "a/new.log"))
        process.spawn()
        await process.wait_gone()
        assert stat.S_IMODE((tmp_path / "a/new.log").stat().st_mode) == 0o640

    run(tmp_path, check)


def test_a_log_directory_that_cannot_be_made_is_refused_before_any_spawn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def check(it: Host) -> None:
        with pytest.raises(StorageFailed):
            it.process("log", sh("true"), logdir=tmp_path / "file/log")

    run(tmp_path, check)


def test_pidfile_in_the_way(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        path = tmp_path / "pid"
        lock = f"import fcntl, signal; f = open({str(path)!r}, 'a')"
        lock += "; fcntl.lockf(f, 6); print(1, flush=True); signal.pause()"
        holder = it.process("holder", py(lock))
        pid = holder.spawn().pid
        await it.lines("holder", 1)
        process = it.process("a", sh("sleep 1000"), pidfile=path, write_pidfile=True)
        with pytest.raises(PidfileHeld) as caught:
            process.spawn()
        assert caught.value.details["pid"] == pid
        assert running(pid)
        holder.stop()
        await holder.wait_gone()
        for content in (b"", b"garbage\n", b"%d\n" % os.getpid(), b"99999999999999999999\n", b"\xff\xfe"):
            path.write_bytes(content)
            started = process.spawn()
            assert path.read_text() == f"{started.pid}\n"
            process.stop()
            assert (await process.wait_gone()).result is StopResult.STOPPED
            assert not path.exists()
        path.mkdir()
        with pytest.raises(PidfileUnusable):
            process.spawn()
        assert path.is_dir()

    run(tmp_path, check)


def test_a_pidfile_that_cannot_be_written_leaves_nothing_running(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh("sleep 1000"), pidfile=tmp_path / "d/pid", write_pidfile=True)
        (tmp_path / "d").rmdir()
        with pytest.raises(StorageFailed):
            process.spawn()
        assert it.marked() == []
        assert process.identity is None
        assert it.exits == {}

    run(tmp_path, check)


def test_a_foreign_pidfile_survives_our_exit(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        path = tmp_path / "pid"
        process = it.process("a", sh("sleep 1000"), pidfile=path, write_pidfile=True)
        process.spawn()
        path.write_text("1\n")
        process.stop()
        await process.wait_gone()
        assert path.read_text() == "1\n"

    run(tmp_path, check)


def test_one_incarnation_at_a_time(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh("sleep 1000"))
        with pytest.raises(NotRunning):
            process.signal(signal.SIGTERM)
        process.spawn()
        with pytest.raises(Busy):
            process.spawn()

    run(tmp_path, check)


def test_three_hundred_lives_leak_nothing(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        before = open_descriptors()
        done = asyncio.Event()
        left = 300

        def again(*_: object) -> None:
            nonlocal left
            left -= 1
            if left:
                process.spawn()
            else:
                done.set()

        process = it.process("a", ("/bin/true",))
        process._on_exit = again
        process.spawn()
        await asyncio.wait_for(done.wait(), 60)
        await until(lambda: open_descriptors() == before)
        assert it.marked() == []
        assert it.os._known == {}

    run(tmp_path, check)
