"""A scripted svcmgrd behind a real socket, and ways to run the command line against it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from svcmgr import paths
from svcmgr.cli.main import run
from svcmgr.clock import SystemClock
from svcmgr.conn import Access, Server, ServerSpec, Verb
from svcmgr.host import wire, wire_volumes
from svcmgr.services import wire as services_wire
from svcmgr.services.mgmtd import wire as mgmtd_wire
from svcmgr.services.snapd import wire as snapd_wire

_VERBS: dict[str, tuple[Access, type | None]] = {
    "hello": (Access.READ, None),
    "status": (Access.READ, wire.StatusRequest),
    "show": (Access.READ, wire.NameRequest),
    "kinds": (Access.READ, None),
    "events": (Access.READ, wire.EventsRequest),
    "doctor": (Access.READ, None),
    "start": (Access.ADMIN, wire.ActionRequest),
    "stop": (Access.ADMIN, wire.ActionRequest),
    "restart": (Access.ADMIN, wire.ActionRequest),
    "reload": (Access.ADMIN, wire.ActionRequest),
    "enable": (Access.ADMIN, wire.ActionRequest),
    "disable": (Access.ADMIN, wire.ActionRequest),
    "add": (Access.ADMIN, wire.AddRequest),
    "remove": (Access.ADMIN, wire.RemoveRequest),
    "plan": (Access.READ, None),
    "reread": (Access.ADMIN, None),
    "shutdown": (Access.ADMIN, wire.ShutdownRequest),
    "volume-info": (Access.READ, wire_volumes.VolumesRequest),
    "volume-options": (Access.READ, wire_volumes.OptionsRequest),
    "volume-create": (Access.ADMIN, wire_volumes.VolumeCreateRequest),
    "volume-start": (Access.ADMIN, wire_volumes.VolumeActionRequest),
    "volume-stop": (Access.ADMIN, wire_volumes.VolumeActionRequest),
    "volume-delete": (Access.ADMIN, wire_volumes.VolumeDeleteRequest),
    "volume-set": (Access.ADMIN, wire_volumes.VolumeSetRequest),
    "volume-reset": (Access.ADMIN, wire_volumes.VolumeResetRequest),
    "volfile-facts": (Access.READ, None),
    "volfile": (Access.READ, services_wire.VolfileRequest),
}
_SNAPD_VERBS: dict[str, tuple[Access, type | None]] = {
    "snapshots": (Access.READ, snapd_wire.SnapshotsRequest),
    "snapshot-info": (Access.READ, snapd_wire.NameRequest),
    "snapshot-create": (Access.ADMIN, snapd_wire.CreateRequest),
    "snapshot-activate": (Access.ADMIN, snapd_wire.NamesRequest),
    "snapshot-deactivate": (Access.ADMIN, snapd_wire.NamesRequest),
    "snapshot-delete": (Access.ADMIN, snapd_wire.NamesRequest),
    "snapshot-restore": (Access.ADMIN, snapd_wire.RestoreRequest),
    "snapshot-diff": (Access.ADMIN, snapd_wire.DiffRequest),
    "schedules": (Access.READ, None),
    "schedule-set": (Access.ADMIN, snapd_wire.ScheduleRequest),
    "schedule-remove": (Access.ADMIN, snapd_wire.NameRequest),
    "list": (Access.READ, snapd_wire.PathRequest),
    "read": (Access.READ, snapd_wire.ReadRequest),
}
_MGMTD_VERBS: dict[str, tuple[Access, type | None]] = {
    "primary": (Access.READ, mgmtd_wire.PrimaryRequest),
    "register-node": (Access.ADMIN, mgmtd_wire.RegisterNodeRequest),
    "unregister-node": (Access.ADMIN, mgmtd_wire.NodeRequest),
    "enable-node": (Access.ADMIN, mgmtd_wire.NodeRequest),
    "disable-node": (Access.ADMIN, mgmtd_wire.DisableNodeRequest),
    "set-node-tags": (Access.ADMIN, mgmtd_wire.SetTagsRequest),
    "nodes": (Access.READ, mgmtd_wire.NodesRequest),
    "routing": (Access.READ, mgmtd_wire.RoutingRequest),
    "watch": (Access.READ, mgmtd_wire.WatchRequest),
    "set-chains": (Access.ADMIN, mgmtd_wire.SetChainsRequest),
    "set-chain-table": (Access.ADMIN, mgmtd_wire.SetTableRequest),
    "update-chain": (Access.ADMIN, mgmtd_wire.UpdateChainRequest),
    "rotate-lastsrv": (Access.ADMIN, mgmtd_wire.RotateRequest),
    "rotate-preferred": (Access.ADMIN, mgmtd_wire.RotateRequest),
    "set-preferred-order": (Access.ADMIN, mgmtd_wire.PreferRequest),
    "chains": (Access.READ, mgmtd_wire.ChainsRequest),
    "chain-tables": (Access.READ, mgmtd_wire.TablesRequest),
    "targets": (Access.READ, mgmtd_wire.TargetsRequest),
    "orphans": (Access.READ, mgmtd_wire.ClusterRequest),
    "explain-chain": (Access.READ, mgmtd_wire.ChainRequest),
    "set-config": (Access.ADMIN, mgmtd_wire.SetConfigRequest),
    "config": (Access.READ, mgmtd_wire.ConfigRequest),
    "config-versions": (Access.READ, mgmtd_wire.ConfigVersionsRequest),
    "rollback-config": (Access.ADMIN, mgmtd_wire.RollbackRequest),
    "sessions": (Access.READ, mgmtd_wire.SessionsRequest),
    "set-universal-tags": (Access.ADMIN, mgmtd_wire.SetHostTagsRequest),
    "universal-tags": (Access.READ, mgmtd_wire.HostTagsRequest),
    "events": (Access.READ, mgmtd_wire.EventsRequest),
    "lease": (Access.READ, mgmtd_wire.ClusterRequest),
    "release-lease": (Access.ADMIN, mgmtd_wire.ReleaseLeaseRequest),
    "fsck": (Access.ADMIN, mgmtd_wire.ClusterRequest),
    "export": (Access.ADMIN, mgmtd_wire.ExportRequest),
}
NOW = 1769846400.25  # 2026-01-31T08:00:00.250Z


class ScriptedSvcmgrd:
    """A real server on a thread of its own whose verbs answer what the test put into ``answers``.

    An answer is a value, an exception to raise, or a callable of the request that may return an awaitable.
    """

    name = "svcmgrd"
    verbs = _VERBS

    def __init__(self, layout: paths.Layout) -> None:
        self.layout = layout
        self.socket = layout.control_socket
        self.access = Access.ADMIN
        self.answers: dict[str, Any] = {"hello": self.info()}
        self.seen: list[tuple[str, Any]] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=f"scripted-{self.name}")
        self._failure: BaseException | None = None

    def info(self, **changes: Any) -> wire.DaemonInfo:
        facts = {
            "pid": os.getpid(),
            "version": "9.9",
            "protocol": 1,
            "started": NOW,
            "root": str(self.layout.root),
            "uptime_s": 61.0,
            "access": "admin",
        }
        return wire.DaemonInfo(**{**facts, **changes})

    def requests(self, verb: str) -> list[Any]:
        return [request for name, request in self.seen if name == verb]

    def status(self, *rows: wire.ServiceRow, **changes: Any) -> None:
        self.answers["status"] = wire.StatusReply(self.info(**changes), time.monotonic(), list(rows))

    def actions(self, verb: str, *outcomes: wire.Outcome) -> None:
        self.answers[verb] = wire.ActionReply(list(outcomes))

    def __enter__(self) -> ScriptedSvcmgrd:
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        assert self._started.wait(10)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def stop_soon(self) -> None:
        """End without waiting; also from inside a verb."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    def end(self) -> None:
        self.stop_soon()
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        spec = ServerSpec(
            address=f"unix:{self.socket}",
            name=self.name,
            incarnation=1,
            access=lambda peer: self.access,
        )
        verbs = {name: Verb(self._handler(name), access, request) for name, (access, request) in self.verbs.items()}
        server = Server(spec, verbs, clock=SystemClock())
        try:
            await server.start()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._started.set()
        try:
            await self._stop.wait()
        finally:
            await server.aclose()

    def _handler(self, verb: str) -> Callable[..., Any]:
        def handle(request: Any, ctx: Any) -> Any:
            self.seen.append((verb, request))
            answer = self.answers[verb]
            if callable(answer):
                answer = answer(request)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return handle


class ScriptedSnapd(ScriptedSvcmgrd):
    """The same for the snapd of volume v0."""

    name = "snapd"
    verbs = _SNAPD_VERBS

    def __init__(self, layout: paths.Layout) -> None:
        super().__init__(layout)
        self.socket = layout.service_socket("snapd@v0")


class ScriptedMgmtd(ScriptedSvcmgrd):
    """The same for the mgmtd of service mgmtd, whose answers are wrapped; ``epoch`` and ``version`` may be changed."""

    name = "mgmtd"
    verbs = _MGMTD_VERBS

    def __init__(self, layout: paths.Layout) -> None:
        super().__init__(layout)
        self.socket = layout.service_socket("mgmtd")
        self.epoch = 5
        self.version = 42
        self.answers["config-versions"] = mgmtd_wire.ConfigVersions([mgmtd_wire.ConfigInfo("STORAGE", 2)])

    def _handler(self, verb: str) -> Callable[..., Any]:
        handle = super()._handler(verb)

        def wrap(request: Any, ctx: Any) -> mgmtd_wire.Answer:
            result = handle(request, ctx)
            return mgmtd_wire.Answer(self.epoch, self.version, 1, result)

        return wrap


class Result(msgspec.Struct):
    """How one run of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def layout(root: Path) -> paths.Layout:
    return paths.resolve(root, {}, os.getuid())


@pytest.fixture
def svcmgrd(layout: paths.Layout) -> Iterator[ScriptedSvcmgrd]:
    with ScriptedSvcmgrd(layout) as daemon:
        yield daemon


@pytest.fixture
def snapd(layout: paths.Layout) -> Iterator[ScriptedSnapd]:
    with ScriptedSnapd(layout) as daemon:
        yield daemon


@pytest.fixture
def mgmtd(layout: paths.Layout) -> Iterator[ScriptedMgmtd]:
    with ScriptedMgmtd(layout) as daemon:
        yield daemon


@pytest.fixture
def svcmgr(root: Path, capfdbinary: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line in this process; standard streams are no terminals."""
    for name in ("NO_COLOR", "COLUMNS", "SVCMGR_DEBUG", "SVCMGR_ROOT"):
        monkeypatch.delenv(name, raising=False)

    def call(*args: str) -> Result:
        capfdbinary.readouterr()
        code = run(["--root", str(root), *args])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(), err.decode())

    return call


@pytest.fixture
def start_svcmgr(root: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a true ``svcmgr`` process; the test waits for it."""

    def start(*args: str, **kwargs: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-m", "svcmgr.cli", "--root", str(root), *args], **{**pipes, **kwargs})

    return start


@pytest.fixture
def svcmgr_process(start_svcmgr: Callable[..., subprocess.Popen[str]]) -> Callable[..., Result]:
    """Run a true ``svcmgr`` process to its end."""

    def call(*args: str, **kwargs: Any) -> Result:
        with start_svcmgr(*args, **kwargs) as process:
            out, err = process.communicate(timeout=30)
        return Result(process.returncode, out or "", err or "")

    return call
