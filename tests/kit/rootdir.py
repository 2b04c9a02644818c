"""A true svcmgrd on a directory of its own, the true command line against it, and proof that nothing is left.

``Root`` starts svcmgrd as a child of the tests (or by ``svcmgr up``), and ends it at the end with ``shutdown --all``. A
test that killed its svcmgrd gets a new one for that: whatever state a test leaves, a new svcmgrd must be able to
clear it. Afterwards no process with our marks, no socket file and no traceback in svcmgrd's log may be there.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from svcmgr import paths
from svcmgr.conn.blocking import BlockingClient
from svcmgr.errors import SvcmgrError
from svcmgr.host.wire import StatusReply, StatusRequest
from svcmgr.proc import procfs

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
CLOCKD = [PYTHON, "-m", "svcmgr.services", "examples.clockd:Clockd"]
#: Run as user nobody, who may read everything (the interpreter of the tests may be in somebody's home) and no more.
_READS = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
AS_NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", *_READS]
#: In the environment of everything that a test starts, so that it is found again.
MARK = "TESTS_KIT_ROOT"
DEADLINE_S = 15.0


def until(condition: Callable[[], Any], what: str = "the condition", deadline_s: float = DEADLINE_S) -> Any:
    """The first true value of ``condition()``; AssertionError after ``deadline_s``."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not become true within {deadline_s} s"
        time.sleep(0.003)
    return value


def alive(pid: int | None) -> bool:
    """Whether ``pid`` lives; a zombie does not."""
    found = procfs.stat(pid) if pid else None
    return found is not None and not found.dead


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def py(script: str, *args: str) -> list[str]:
    return [PYTHON, "-S", "-E", "-c", script, *args]


class Root:
    """Everything below ``path``. ``environ`` is what svcmgrd and the command line get."""

    def __init__(self, path: Path, scratch: Path, environ: Mapping[str, str] | None = None) -> None:
        self.path = path
        #: for the files of the test's own programs
        self.scratch = scratch
        self.layout = paths.resolve(path, {}, os.getuid())
        self.short_dir = paths.short_socket_dir({}, os.getuid())
        self.environ = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(scratch),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            MARK: str(path),
            **(environ or {}),
        }
        self._children: list[subprocess.Popen[Any]] = []
        self._daemons: list[int] = []
        self._first_event = 0

    # --- svcmgrd ---------------------------------------------------------------------------------------

    def up(self, *, program: list[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
        """Start svcmgrd, wait until it serves; its pid. ``program`` stands for ``-m svcmgr.host``."""
        process = self.launch(program, environ)
        self.await_ready(process)
        return process.pid

    def launch(
        self, program: list[str] | None = None, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start svcmgrd; with ``ready`` as the reading end of its ``--ready-fd``."""
        self.layout.log.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        argv = program or [PYTHON, "-m", "svcmgr.host"]
        with open(self.layout.daemon_log, "ab") as log:
            process = subprocess.Popen(
                [*argv, "--root", str(self.path), "--ready-fd", str(writer)],
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                pass_fds=[writer],
            )
        os.close(writer)
        process.ready = reader  # type: ignore[attr-defined]
        self._children.append(process)
        return process

    def await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return when ``process`` serves. AssertionError when it ends, or takes too long."""
        reader = process.ready  # type: ignore[attr-defined]
        assert select.select([reader], [], [], DEADLINE_S)[0], f"svcmgrd is not ready: {self.daemon_log()}"
        assert os.read(reader, 16) == b"ready\n", f"svcmgrd ended: {self.daemon_log()}"

    def up_by_cli(self) -> int:
        """``svcmgr up``; the pid of svcmgrd."""
        pid: int = self.json("up")["pid"]
        self._daemons.append(pid)
        return pid

    def pid(self) -> int:
        """The pid of the svcmgrd that serves now."""
        pid: int = self.call("hello")["pid"]
        return pid

    def kill(self) -> None:
        """SIGKILL to svcmgrd."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        self.await_end(pid)

    def await_end(self, pid: int) -> None:
        """Return when ``pid`` is gone; a child is reaped."""
        until(lambda: not alive(pid), f"the end of {pid}")
        for child in self._children:
            if child.pid == pid:
                child.wait()

    def daemon_log(self) -> str:
        path = self.layout.daemon_log
        return path.read_text(errors="replace") if path.exists() else ""

    # --- the two ways to ask ---------------------------------------------------------------------------

    def popen(self, *args: str, **settings: Any) -> subprocess.Popen[str]:
        """The command line as a process of its own, to be waited for by the test."""
        process = subprocess.Popen(
            [PYTHON, "-m", "svcmgr.cli", "--root", str(self.path), *args],
            env={**self.environ, **settings.pop("environ", {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.scratch,
            **settings,
        )
        self._children.append(process)
        return process

    def cli(self, *args: str, code: int | None = 0, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run ``svcmgr``; AssertionError for another exit code than ``code``, and for any traceback."""
        with self.popen(*args, **settings) as process:
            out, err = process.communicate(timeout=60)
        done = subprocess.CompletedProcess(args, process.returncode, out, err)
        assert "Traceback" not in out + err, err
        assert code is None or done.returncode == code, f"{args}: exit {done.returncode}\n{out}{err}"
        return done

    def json(self, *args: str, code: int | None = 0, **settings: Any) -> Any:
        """Run ``svcmgr ... --json`` and parse what it printed."""
        return json.loads(self.cli(args[0], "--json", *args[1:], code=code, **settings).stdout)

    def client(self) -> BlockingClient:
        return BlockingClient(paths.socket_path(self.layout.control_socket, self.short_dir), timeout=30.0)

    def call(self, verb: str, **params: Any) -> Any:
        """One call over the socket. Raises SvcmgrError as answered."""
        with self.client() as client:
            return client.call(verb, params or None, timeout=60.0)

    # --- services --------------------------------------------------------------------------------------

    def define(self, name: str, command: list[str], **keys: Any) -> Path:
        """Write a definition file; svcmgrd reads it at its start, or when told to."""
        path = self.layout.definitions / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps({"command": command, **keys}))
        return path

    def add(
        self, name: str, command: list[str], *, start: bool = False, replace: bool = False, **keys: Any
    ) -> dict[str, Any]:
        """Define a service by way of svcmgrd; its outcome. It must have gone well."""
        reply = self.call("add", name=name, definition={"command": command, **keys}, start=start, replace=replace)
        (outcome,) = reply["outcomes"]
        assert outcome.get("ok", True), outcome
        return dict(outcome)

    def act(self, verb: str, *names: str, **params: Any) -> dict[str, Any]:
        """Start, stop or restart over the socket: outcome by name."""
        return {o["name"]: o for o in self.call(verb, names=list(names), **params)["outcomes"]}

    def row(self, name: str) -> dict[str, Any]:
        """The service in ``status``, with paths; every key is there."""
        with self.client() as client:
            (row,) = client.call("status", StatusRequest([name], paths=True), type=StatusReply).services
        last = msgspec.structs.asdict(row.last_exit) if row.last_exit is not None else None
        return {**msgspec.structs.asdict(row), "last_exit": last}

    def state(self, name: str) -> str:
        return str(self.row(name)["state"])

    def running(self, name: str) -> int:
        """Wait until it is online; its pid."""

        def pid() -> int | None:
            row = self.row(name)
            return row["pid"] if row["status"] == "online" else None

        found: int = until(pid, f"{name} online")
        return found

    def events(self, name: str = "", what: str = "") -> list[dict[str, Any]]:
        """What happened in this test, oldest first."""
        params = {"since": self._first_event, "limit": 10000, **({"names": [name]} if name else {})}
        return [e for e in self.call("events", **params)["events"] if not what or e["what"] == what]

    def log(self, name: str) -> str:
        path = self.layout.service_log(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def said(self, name: str, text: str) -> str:
        """Wait until ``text`` is in the log of ``name``; the log."""
        until(lambda: text in self.log(name), f"{text!r} in the log of {name}")
        return self.log(name)

    # --- what is left ----------------------------------------------------------------------------------

    def child(self, argv: list[str], **settings: Any) -> subprocess.Popen[Any]:
        """A process of the test, ended with it; not known to svcmgrd."""
        process = subprocess.Popen(argv, env={**self.environ, **settings.pop("environ", {})}, **settings)
        self._children.append(process)
        return process

    def processes(self, service: str = "") -> list[int]:
        """Living processes that svcmgrd marked as its own; of one service, or of all."""
        return [
            pid
            for pid, env in _environments()
            if env.get("SVCMGR_ROOT") == str(self.layout.run) and service in ("", env.get("SVCMGR_SERVICE"))
        ]

    def sockets(self) -> list[Path]:
        """Socket files of this root, readable names and short ones."""
        readable = [p for p in self.layout.run.rglob("*") if p.suffix in (".sock", ".notify")]
        keys = {p.stem for p in self.layout.definitions.glob("*.toml")}
        names = [self.layout.control_socket]
        for key in keys:
            names += [self.layout.service_socket(key), self.layout.service_notify(key)]
        short = {paths.socket_path(name, self.short_dir) for name in names}
        return [p for p in {*readable, *short} if os.path.lexists(p)]

    def finish(self) -> None:
        """End everything and prove it."""
        try:
            self._clear()
        finally:
            left = self._sweep()
        assert not left, f"left over: {left}\n{self.daemon_log()}"
        assert not self.sockets(), f"sockets are left: {self.sockets()}"
        assert "Traceback" not in self.daemon_log(), self.daemon_log()

    def reset(self) -> bool:
        """Make it as new for another test, whose svcmgrd this one will be; False when that cannot be.

        AssertionError when something is left that ``remove --stop`` should have ended.
        """
        if not (self._answers() and self.layout.daemon_log.exists()):
            return False
        self._remove_all()
        svcmgrd = self.pid()
        self._end_children(but=svcmgrd)
        assert not self.processes(), f"left over: {self.processes()}\n{self.daemon_log()}"
        assert self.sockets() == [self.layout.control_socket], f"sockets are left: {self.sockets()}"
        assert "Traceback" not in self.daemon_log(), self.daemon_log()
        for place in (self.scratch, self.layout.definitions, self.layout.services_run, self.layout.log):
            for path in place.iterdir():
                if path != self.layout.daemon_log:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        os.truncate(self.layout.daemon_log, 0)
        self._first_event = self.call("events", since=-1)["next"]
        return True

    def _remove_all(self) -> None:
        reply = self.call("status")
        names = [*(s["name"] for s in reply["services"]), *reply["svcmgrd"]["invalid"]]
        if names:
            outcomes = self.call("remove", names=names, stop=True, timeout_s=20.0)["outcomes"]
            assert all(o["result"] == "removed" for o in outcomes), outcomes

    def _end_children(self, but: int) -> None:
        for child in [child for child in self._children if child.pid != but]:
            self._end_child(child)
            self._children.remove(child)

    def _end_child(self, child: subprocess.Popen[Any]) -> None:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                stream.close()
        if (reader := getattr(child, "ready", None)) is not None:
            os.close(reader)

    def _clear(self) -> None:
        if not self._answers():
            if not self.processes():
                return
            self.up()
        pid = self.pid()
        outcomes = self.call("shutdown", all=True, timeout_s=20.0).get("stopped", [])
        assert all(o.get("ok", True) for o in outcomes), f"not stopped: {outcomes}"
        self.await_end(pid)

    def _answers(self) -> bool:
        with contextlib.suppress(SvcmgrError):
            self.pid()
            return True
        return False

    def _sweep(self) -> list[str]:
        """Kill what is left of ours; a list of what was left although it should not be."""
        ours = [child for child in self._children if child.poll() is None]
        strangers = {child.pid for child in ours}
        left = {
            pid: procfs.stat(pid)
            for pid, env in _environments()
            if pid not in strangers
            and (env.get(MARK) == str(self.path) or env.get("SVCMGR_ROOT") == str(self.layout.run))
        }
        for pid in (*left, *strangers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self._children:
            self._end_child(child)
        self._children.clear()
        until(lambda: not any(alive(pid) for pid in left), "the end of what was left")
        return [f"{pid} {found}" for pid, found in left.items()]


def _environments() -> list[tuple[int, dict[str, str]]]:
    found = []
    for pid in procfs.pids():
        if alive(pid) and (block := procfs.environ(pid)):
            pairs = (entry.partition("=") for entry in block.decode(errors="replace").split("\0"))
            found.append((pid, {name: value for name, _, value in pairs}))
    return found
