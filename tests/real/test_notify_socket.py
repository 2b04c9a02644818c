"""The receiving end of sd_notify with real datagrams: who is believed, and what a hostile sender achieves."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import BadInput, StorageFailed
from svcmgr.sdnotify import MAX_DATAGRAM, Notification, notify
from svcmgr.svc.notify import NotifySocket, _sender
from tests.kit.vloop import until

Got = list[tuple[Notification, int]]


class Bench:
    """One open notify socket, what it delivered, and a sender."""

    def __init__(self, place: Path) -> None:
        self.got: Got = []
        self.path = place / "n.sock"
        self.socket = NotifySocket(self.path, os.getuid(), lambda note, pid: self.got.append((note, pid)))
        self.sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(self, data: bytes) -> None:
        self.sender.sendto(data, str(self.path))

    async def arrived(self, count: int = 1) -> None:
        await until(lambda: len(self.got) + self.socket.dropped >= count)


def on_bench(check: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Run with a bench whose socket is open, and closed afterwards."""

    async def whole(place: Path) -> None:
        bench = Bench(place)
        bench.socket.open(os.getuid())
        try:
            await check(bench)
        finally:
            bench.socket.close()
            bench.sender.close()

    def test(tmp_path: Path) -> None:
        asyncio.run(whole(tmp_path))

    test.__doc__ = check.__doc__
    return test


@on_bench
async def test_a_datagram_arrives_with_its_sender(bench: Bench) -> None:
    bench.send(b"READY=1\nSTATUS=serves\nMAINPID=7")
    await bench.arrived()
    assert bench.got == [(Notification(ready=True, status="serves", mainpid=7), os.getpid())]
    assert bench.socket.dropped == 0


@on_bench
async def test_the_senders_number_comes_from_the_kernel(bench: Bench) -> None:
    program = "import os, sys; from svcmgr.sdnotify import notify; notify(os.environ, ready=True); print(os.getpid())"
    env = {**os.environ, "NOTIFY_SOCKET": str(bench.path)}
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], env=env, capture_output=True)
    await bench.arrived()
    assert bench.got == [(Notification(ready=True), int(done.stdout))]


@on_bench
async def test_forged_credentials_are_refused_by_the_kernel_or_not_believed(bench: Bench) -> None:
    """Without privilege the kernel refuses them; a privileged sender may name any user, and is judged by that."""
    forged = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iII", os.getpid(), 54321, 54321))]
    try:
        bench.sender.sendmsg([b"READY=1"], forged, 0, str(bench.path))
    except PermissionError:
        assert os.getuid() != 0
        return
    await bench.arrived()
    assert bench.got == []
    assert bench.socket.dropped == 1


@on_bench
async def test_what_the_own_user_names_is_believed_however_it_is_passed(bench: Bench) -> None:
    own = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iII", os.getpid(), os.getuid(), os.getgid()))]
    bench.sender.sendmsg([b"READY=1"], own, 0, str(bench.path))
    await bench.arrived()
    assert bench.got == [(Notification(ready=True), os.getpid())]


@on_bench
async def test_the_largest_datagram_is_read_and_a_larger_one_is_not(bench: Bench) -> None:
    bench.send(b"READY=1\nX=" + b"a" * (MAX_DATAGRAM - 10))
    bench.send(b"READY=1\nX=" + b"a" * (MAX_DATAGRAM - 9))
    bench.send(b"READY=1\n" + b"a" * 100_000)
    await bench.arrived(3)
    assert len(bench.got) == 1
    assert bench.got[0][0].ready
    assert bench.socket.dropped == 2


HOSTILE = [
    b"",
    b"\0",
    b"\n\n\n",
    b"=",
    b"READY",
    b"READY=",
    b"READY=2",
    b"ready=1",
    b"READY =1",
    b"\xff\xfe=\x80",
    b"STATUS=\xff",
    b"MAINPID=0",
    b"MAINPID=-1",
    b"MAINPID=99999999999999999999",
    b"MAINPID=\xd9\xa1",
    b"WATCHDOG=2",
    b"WATCHDOG_USEC=1e9",
    b"EXTEND_TIMEOUT_USEC=18446744073709551616",
    b"ERRNO=99999",
    b"A" * 4000,
    b"X=1\n" * 1000,
]


@on_bench
async def test_hostile_datagrams_say_nothing(bench: Bench) -> None:
    for count, data in enumerate(HOSTILE, 1):
        bench.send(data)
        await bench.arrived(count)  # the queue of a datagram socket is short
    for note, _ in bench.got:
        assert not note.ready
        assert not note.watchdog
        assert not note.watchdog_trigger
        assert (note.mainpid, note.status, note.extend_timeout_usec) == (None, None, None)
    bench.send(b"READY=1")
    await until(lambda: bench.got[-1][0].ready)


@on_bench
async def test_a_terminal_is_safe_from_a_status(bench: Bench) -> None:
    bench.send("STATUS=\x1b[2J\x07nice\x9b31m".encode())
    await bench.arrived()
    status = bench.got[0][0].status
    assert status is not None
    assert status.isprintable()
    assert "nice" in status


@on_bench
async def test_a_flood_is_taken_in_turns(bench: Bench) -> None:
    """The loop gets its turn while datagrams never end: the sender here sends one more for each that is taken."""
    turns = 0
    bench.socket._deliver = lambda note, pid: (bench.got.append((note, pid)), bench.send(b"X=1"))[0]  # type: ignore[func-returns-value]
    bench.send(b"X=1")
    while len(bench.got) < 1000:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 10


@on_bench
async def test_passed_descriptors_are_not_kept(bench: Bench) -> None:
    """sd_notify(3) has a store for descriptors; we have none, so what is sent must not stay open here."""
    before = set(os.listdir("/proc/self/fd"))
    read, write = os.pipe()
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("ii", read, write))]
    bench.sender.sendmsg([b"FDSTORE=1\nREADY=1"], passed, 0, str(bench.path))
    os.close(read)
    os.close(write)
    await bench.arrived()
    assert set(os.listdir("/proc/self/fd")) == before


@on_bench
async def test_the_socket_is_the_service_users_alone(bench: Bench) -> None:
    found = bench.path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == os.getuid()


@on_bench
async def test_opening_twice_keeps_the_socket(bench: Bench) -> None:
    inode = bench.path.stat().st_ino
    bench.socket.open(os.getuid())
    assert bench.path.stat().st_ino == inode
    bench.send(b"READY=1")
    await bench.arrived()


@on_bench
async def test_close_removes_the_file_and_may_be_repeated(bench: Bench) -> None:
    bench.send(b"READY=1")
    bench.socket.close()
    bench.socket.close()
    assert not bench.path.exists()
    await asyncio.sleep(0)
    assert bench.got == []
    bench.socket.open(os.getuid())
    bench.send(b"READY=1")
    await bench.arrived()


@on_bench
async def test_close_from_within_a_delivery(bench: Bench) -> None:
    """A STATUS may be the last word before the service is closed; the rest of the batch is dropped with it."""

    def deliver(note: Notification, pid: int) -> None:
        bench.got.append((note, pid))
        bench.socket.close()

    bench.socket._deliver = deliver
    for _ in range(3):
        bench.send(b"STATUS=x")
    await bench.arrived()
    await asyncio.sleep(0)
    assert len(bench.got) == 1


@on_bench
async def test_notify_itself_fails_when_nobody_listens(bench: Bench) -> None:
    bench.socket.close()
    with pytest.raises(Exception, match="cannot notify"):
        notify({"NOTIFY_SOCKET": str(bench.path)}, ready=True)
    with pytest.raises(BadInput):
        notify({"NOTIFY_SOCKET": "relative"}, ready=True)


def test_a_leftover_of_a_killed_svcmgrd_is_replaced(tmp_path: Path) -> None:
    async def check() -> None:
        bench = Bench(tmp_path)
        old = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        old.bind(str(bench.path))
        old.close()
        bench.socket.open(os.getuid())
        bench.send(b"READY=1")
        await bench.arrived()
        bench.socket.close()
        bench.sender.close()

    asyncio.run(check())


@pytest.mark.parametrize("where", ["missing/n.sock", "dir", "x" * 200])
def test_a_path_that_cannot_be_bound_is_told(tmp_path: Path, where: str) -> None:
    (tmp_path / "dir").mkdir()

    async def check() -> None:
        with pytest.raises(StorageFailed, match="cannot bind"):
            NotifySocket(tmp_path / where, os.getuid(), lambda *_: None).open(os.getuid())

    asyncio.run(check())


def test_credentials_are_found_among_other_messages() -> None:
    good = struct.pack("iII", 7, 8, 9)
    assert _sender([(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, good)]) == (7, 8)
    assert _sender([(socket.SOL_SOCKET, socket.SCM_RIGHTS, good), (0, socket.SCM_CREDENTIALS, good)]) is None
    assert _sender([(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, good[:8])]) is None
    assert _sender([]) is None
