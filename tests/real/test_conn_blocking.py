"""The blocking client against real servers, stopped ones, dead ones and impostors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from svcmgr import PROTOCOL, errors
from svcmgr.clock import SystemClock
from svcmgr.conn import frame as wire
from svcmgr.conn.blocking import BlockingClient
from svcmgr.conn.client import Connection, ConnSpec
from svcmgr.conn.events import Connected, Disconnected, Hung, Recovered
from svcmgr.conn.frame import FrameDecoder, encode
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.session import State
from svcmgr.conn.verbs import CallContext, Verb
from tests.kit.vloop import until

HELLO = encode(wire.Hello(PROTOCOL, "server"))

DAEMON = """
import asyncio, sys
from svcmgr.clock import SystemClock
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.verbs import Verb
import os, msgspec

async def nap(request, ctx):
    await asyncio.sleep(request)
    return "awake"

ROWS = [{"name": f"service-{n}", "text": "x" * 280} for n in range(500)]

async def main():
    verbs = {
        "pid": Verb(lambda request, ctx: os.getpid()),
        "nap": Verb(nap, request=float),
        "rows": Verb(lambda request, ctx: ROWS),
        "die": Verb(lambda request, ctx: os._exit(3)),
        "fail": Verb(lambda request, ctx: 1 / 0),
    }
    spec = ServerSpec("unix:" + sys.argv[1], "daemon", on_error=lambda verb, error: None)
    async with Server(spec, verbs, clock=SystemClock()):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield f"{directory}/s"


@contextlib.contextmanager
def daemon(path: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", DAEMON, path])
    try:
        wait_for(lambda: answers(path))
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.005)


def answers(path: str) -> bool:
    try:
        with BlockingClient(path, timeout=1) as client:
            client.call("ping")
    except errors.ConnectionFault:
        return False
    return True


@contextlib.contextmanager
def impostor(path: str, *answer: bytes, hang_up: bool = True) -> Iterator[None]:
    """Answers every connection with these bytes, whatever it is asked."""
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(0.02)

        def serve() -> None:
            open_ones = []
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    peer, _ = listener.accept()
                    for data in answer:
                        peer.sendall(data)
                    if hang_up:
                        peer.close()
                    else:
                        open_ones.append(peer)
            for peer in open_ones:
                peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def test_calls_are_answered_and_errors_are_typed(path: str) -> None:
    with daemon(path) as process, BlockingClient(path) as client:
        assert client.call("pid", type=int) == process.pid
        assert client.call("nap", 0.001) == "awake"
        assert len(client.call("rows")) == 500
        with pytest.raises(errors.UnknownVerb):
            client.call("nonsense")
        with pytest.raises(errors.InternalError):
            client.call("fail")
        with pytest.raises(errors.BadInput):
            client.call("nap", "soon")
        with pytest.raises(errors.ProtocolFault):
            client.call("pid", type=str)
        with pytest.raises(errors.BadInput):
            client.call("pid", timeout=0)
        with pytest.raises(errors.BadInput):
            client.call("pid", object())
        assert client.call("pid", timeout=float("inf")) == process.pid


def test_nobody_there(path: str) -> None:
    with pytest.raises(errors.NoSvcmgrd):
        BlockingClient(path).connect()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    with pytest.raises(errors.NoSvcmgrd) as caught:
        BlockingClient(path).connect()
    assert caught.value.exit_code == errors.EXIT_NO_SVCMGRD
    with pytest.raises(errors.NoSvcmgrd):
        BlockingClient(path + "/below/a/socket").connect()
    with pytest.raises(errors.Disconnected):
        BlockingClient("/" + "x" * 200).connect()


def test_a_timeout_is_a_timeout_and_the_client_goes_on(path: str) -> None:
    with daemon(path) as process, BlockingClient(path) as client:
        start = time.monotonic()
        with pytest.raises((errors.FrameTimeout, errors.DeadlineExceeded)):
            client.call("nap", 30.0, timeout=0.2)
        assert 0.19 < time.monotonic() - start < 1.0
        assert client.call("pid") == process.pid


def test_a_stopped_daemon_times_out_and_its_late_answer_is_skipped(path: str) -> None:
    with daemon(path) as process, BlockingClient(path) as client:
        assert client.call("pid") == process.pid
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(errors.FrameTimeout):
            client.call("rows", timeout=0.2)
        process.send_signal(signal.SIGCONT)
        assert client.call("pid") == process.pid


def test_a_daemon_that_dies_in_the_middle(path: str) -> None:
    with daemon(path) as process, BlockingClient(path) as client:
        client.call("pid")
        with pytest.raises(errors.Disconnected):
            client.call("die")
        process.wait()
        with pytest.raises(errors.NoSvcmgrd):
            client.call("pid")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((), errors.Disconnected),
        ((b"SSH-2.0-OpenSSH\r\n",), errors.FrameTooLarge),
        ((b"\x00\x00\x00\x01\xc1",), errors.ProtocolFault),
        ((encode(wire.Reply(1, None)),), errors.ProtocolFault),
        ((encode(wire.Hello(PROTOCOL + 1, "future")),), errors.ProtocolFault),
        ((encode(wire.Fault(0, "too-many-connections", "cannot serve")),), errors.TooManyConnections),
        ((HELLO, encode(wire.Fault(0, "slow-reader", "cannot serve"))), errors.SlowReader),
        ((HELLO + encode(wire.Ping(1)) + encode(wire.Reply(7, None)) + b"\xff\xff\xff\xff",), errors.FrameTooLarge),
        ((HELLO + encode(wire.Fault(1, "made-up", "cannot")),), errors.RemoteError),
    ],
)
def test_impostors_are_typed_errors(path: str, answer: tuple[bytes, ...], error: type[errors.SvcmgrError]) -> None:
    with impostor(path, *answer), BlockingClient(path, timeout=5) as client, pytest.raises(error):
        client.call("anything", "x" * 300_000)


def test_a_server_that_trickles_cannot_stretch_the_deadline(path: str) -> None:
    with impostor(path, HELLO, encode(wire.Event("t", None)), b"\x00\x00", hang_up=False):
        client = BlockingClient(path)
        start = time.monotonic()
        with pytest.raises(errors.FrameTimeout):
            client.call("anything", timeout=0.3)
        assert time.monotonic() - start < 1.0
        client.close()
        client.close()


def test_pings_are_answered_while_waiting(path: str) -> None:
    got: list[wire.Frame] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                decoder = FrameDecoder()
                peer.sendall(HELLO + encode(wire.Ping(77)))
                while not any(isinstance(frame, wire.Pong) for frame in got):
                    got.extend(decoder.feed(peer.recv(1000)))
                peer.sendall(encode(wire.Reply(1, "ok")))

        thread = threading.Thread(target=serve)
        thread.start()
        with BlockingClient(path) as client:
            assert client.call("v") == "ok"
        thread.join()
    assert wire.Pong(77) in got


def test_the_client_of_the_document_works(path: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "wire-protocol.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert "import msgpack" in code
    # The document's reader has a msgpack library; here msgspec stands in for it.
    stand_in = SimpleNamespace(packb=msgspec.msgpack.encode, unpackb=msgspec.msgpack.decode)
    names: dict[str, object] = {"path": path, "msgpack": stand_in}
    with daemon(path):
        exec(compile(code.replace("import msgpack", ""), "wire-protocol.md", "exec"), names)
    names["sock"].close()  # type: ignore[attr-defined]
    assert names["rest"] == [None]


def test_the_import_stays_light() -> None:
    code = (
        "import sys, svcmgr.conn.blocking; print(*sorted({'asyncio', 'attrs', 'attr', 'logging'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_connection_object_sees_stop_continue_and_death_of_a_real_daemon(path: str) -> None:
    async def history(process: subprocess.Popen[bytes]) -> None:
        events: list[object] = []
        spec = ConnSpec("unix:" + path, keepalive=0.1, hung_after=0.3)
        connection = Connection(spec, clock=SystemClock(), rng=random.Random(1), notify=events.append)
        connection.connect(1)
        await until(lambda: connection.state is State.UP)
        assert await connection.call("pid") == process.pid
        assert events[0].peer.pid == process.pid  # type: ignore[attr-defined]
        process.send_signal(signal.SIGSTOP)
        await until(lambda: connection.state is State.STALE)
        process.send_signal(signal.SIGCONT)
        await until(lambda: connection.state is State.UP)
        call = asyncio.ensure_future(connection.call("nap", 60.0))
        await connection.call("pid")
        killed = time.monotonic()
        process.kill()
        with pytest.raises(errors.Disconnected):
            await call
        assert time.monotonic() - killed < 0.5
        await connection.term()
        assert [type(event) for event in events] == [Connected, Hung, Recovered, Disconnected]

    with daemon(path) as process:
        asyncio.run(history(process))


def test_arbitrary_bytes_do_not_disturb_the_others(path: str) -> None:
    rng = random.Random(11)

    async def history() -> None:
        spec = ServerSpec("unix:" + path, max_connections=64)
        async with Server(spec, {"echo": Verb(_echo, request=str)}, clock=SystemClock()) as server:
            good = Connection(ConnSpec("unix:" + path), clock=SystemClock(), rng=rng, notify=lambda event: None)
            good.connect(1)
            await until(lambda: good.state is State.UP)
            for number in range(150):
                attacker = socket.socket(socket.AF_UNIX)
                attacker.setblocking(False)
                attacker.connect(path)
                first = encode(wire.Hello(PROTOCOL, "x")) if number % 2 else b""
                attacker.send(first + rng.randbytes(rng.choice([0, 1, 3, 4, 5, 40, 4000])))
                attacker.close()
                assert await good.call("echo", "still") == "still"
            await until(lambda: server.statistics()["connections"] == 1)
            await good.term()

    asyncio.run(history())


def _echo(request: str, ctx: CallContext) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(request))


def test_many_connections_at_once(path: str) -> None:
    async def history() -> None:
        async with Server(ServerSpec("unix:" + path), {}, clock=SystemClock()) as server:
            connections = [
                Connection(
                    ConnSpec("unix:" + path), clock=SystemClock(), rng=random.Random(n), notify=lambda event: None
                )
                for n in range(200)
            ]
            for connection in connections:
                connection.connect(1)
            await until(lambda: all(connection.state is State.UP for connection in connections))
            await asyncio.gather(*(connection.call("ping") for connection in connections))
            assert server.statistics()["connections"] == 200
            for connection in connections:
                await connection.term()

    asyncio.run(history())
    assert not os.path.exists(path)
