"""Peers of svcmgrd's socket that misbehave, and peers without rights: status keeps answering."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from svcmgr import paths
from svcmgr.conn.blocking import BlockingClient
from svcmgr.errors import SvcmgrError
from tests.kit.rootdir import AS_NOBODY, PYTHON, until


def raw(root):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(10)
        sock.connect(str(paths.socket_path(root.layout.control_socket, root.short_dir)))
    except OSError:
        sock.close()
        raise
    return sock


def rss_kib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def frame(body):
    data = msgspec.msgpack.encode(body)
    return struct.pack(">I", len(data)) + data


HELLO = frame([0, 1, "test"])

BAD = {
    "nothing": b"",
    "half-length": b"\0\0",
    "half-frame": struct.pack(">I", 100) + b"x" * 50,
    "two-gigabytes": struct.pack(">I", 1 << 31),
    "four-gigabytes": b"\xff\xff\xff\xff",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise": bytes(range(256)) * 40,
    "not-msgpack": struct.pack(">I", 3) + b"\xc1\xc1\xc1",
    "empty-frame": struct.pack(">I", 0),
    "deep": struct.pack(">I", 60_000) + b"\x91" * 60_000,
    "map": frame({"verb": "status"}),
    "unknown-tag": frame([99, "x"]),
    "other-protocol": frame([0, 77, "test"]),
    "no-hello": frame([1, 1, "status", {}, 1000]),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_bytes_do_not_disturb_others(shared, data):
    with shared.client() as good, raw(shared) as bad:
        good.call("status")
        bad.sendall(data)
        began = time.monotonic()
        good.call("status")
        assert time.monotonic() - began < 1.0
        with contextlib.suppress(TimeoutError, ConnectionError):
            bad.settimeout(0.05)
            while bad.recv(65536):
                pass
        good.call("status")
    assert shared.cli("status").returncode == 0
    assert "Traceback" not in shared.daemon_log()


def test_memory_stays_small_under_announced_lengths(shared):
    pid = shared.pid()
    before = rss_kib(pid)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            sock = stack.enter_context(raw(shared))
            with contextlib.suppress(OSError):
                sock.sendall(HELLO + struct.pack(">I", 15 << 20) + b"x" * 1000)
        shared.call("status")
        assert rss_kib(pid) - before < 20 * 1024


def test_more_connections_than_allowed_are_refused_and_the_rest_served(shared):
    with shared.client() as good, contextlib.ExitStack() as stack:
        good.call("status")
        socks = []
        for _ in range(300):
            with contextlib.suppress(OSError):
                socks.append(stack.enter_context(raw(shared)))
                socks[-1].sendall(HELLO)
        good.call("status")
    until(lambda: _answers(shared), "an answer to a new connection")


def _answers(root):
    with contextlib.suppress(SvcmgrError):
        root.call("status")
        return True
    return False


def test_a_peer_that_asks_and_never_reads_is_cut_off_alone(root):
    for number in range(40):
        root.add(f"web@{number}", ["/bin/sleep", "600"], description="x" * 100)
    with raw(root) as deaf, root.client() as good:
        deaf.sendall(HELLO)
        deaf.settimeout(0.2)
        call = frame([1, 1, "status", {"names": [], "paths": True}, 60_000])
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 50_000:
                deaf.sendall(
                    call.replace(
                        b"\x01\x01\xa6status", b"\x01" + msgspec.msgpack.encode(sent % 100 + 1) + b"\xa6status"
                    )
                )
                sent += 1
        assert sent < 50_000, "svcmgrd has taken it all: nothing was held back"
        began = time.monotonic()
        good.call("status")
        assert time.monotonic() - began < 2.0
    assert rss_kib(root.pid()) < 200 * 1024


def test_an_unknown_verb_is_told(shared):
    with shared.client() as client, pytest.raises(SvcmgrError) as refused:
        client.call("explode")
    assert refused.value.code == "unknown-verb"


@pytest.fixture
def nobody(shared):
    """Runs a command line as user nobody, against the root of somebody else."""
    for path in (shared.path, shared.path.parent, shared.path.parent.parent):
        path.chmod(path.stat().st_mode | 0o011)

    def run(*args):
        argv = [*AS_NOBODY, PYTHON, "-m", "svcmgr.cli", "--root", str(shared.path), *args]
        return subprocess.run(
            argv, env=shared.environ, capture_output=True, text=True, cwd="/", timeout=30, check=False
        )

    return run


def test_others_may_look_and_not_touch(shared, nobody):
    shared.add("web", ["/bin/sleep", "600"], env={"API_TOKEN": "hush"}, replace=True)
    assert nobody("status").returncode == 0
    shown = nobody("show", "web")
    assert shown.returncode == 0
    assert "hush" not in shown.stdout
    for command in (["start", "web"], ["add", "x", "/bin/true"], ["shutdown", "--all"], ["reload"]):
        done = nobody(*command)
        assert done.returncode == 1
        assert done.stderr.startswith("svcmgr: cannot")
    assert shared.state("web") == "down"
    shared.call("remove", names=["web"])


def test_svcmgrd_that_is_stopped_makes_the_client_time_out_not_hang(root):
    pid = root.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        client = BlockingClient(str(root.layout.control_socket), timeout=0.3)
        with client, pytest.raises(SvcmgrError) as refused:
            client.call("status")
        assert refused.value.code == "frame-timeout"
    finally:
        os.kill(pid, signal.SIGCONT)
    root.call("status")


def test_svcmgrd_that_dies_during_a_call_is_told_at_once(root):
    root.add("web", ["/bin/sleep", "600"], ready="up:30")
    caller = root.popen("start", "web")
    until(lambda: root.events("web", "spawned"), "the spawn")
    began = time.monotonic()
    root.kill()
    _, err = caller.communicate(timeout=10)
    assert caller.returncode == 1
    assert "may or may not" in err
    assert time.monotonic() - began < 2.0
