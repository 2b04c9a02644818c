"""Unix sockets: the rules for all transports, binding, permissions, credentials."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcmgr.conn.transport import Address, LinkOptions
from svcmgr.conn.unix import UnixTransport
from svcmgr.errors import AlreadyExists, Disconnected, StorageFailed
from tests.kit import conformance
from tests.kit.conformance import Recorder, connected
from tests.kit.vloop import until


@pytest.fixture
def address() -> Iterator[Address]:
    # tmp_path can be too long for a socket address.
    with tempfile.TemporaryDirectory() as directory:
        yield Address("unix", f"{directory}/s")


@pytest.mark.parametrize("check", conformance.CHECKS)
def test_unix_conforms(check: object, address: Address) -> None:
    asyncio.run(check(UnixTransport(), address))  # type: ignore[operator]


def leave_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()


def test_a_stale_socket_file_is_replaced(address: Address) -> None:
    leave_stale(address.place)

    async def history() -> None:
        async with connected(UnixTransport(), address):
            pass
        assert not os.path.exists(address.place)

    asyncio.run(history())


def test_a_live_socket_is_left_alone_even_with_a_full_queue(address: Address) -> None:
    with socket.socket(socket.AF_UNIX) as owner, socket.socket(socket.AF_UNIX) as one:
        owner.bind(address.place)
        owner.listen(0)
        one.connect(address.place)  # the queue is full now
        inode = os.stat(address.place).st_ino

        async def history() -> None:
            with pytest.raises(AlreadyExists):
                await UnixTransport().listen(address, Recorder, LinkOptions())
            with pytest.raises(Disconnected) as caught:
                await UnixTransport().dial(address, Recorder(), LinkOptions())
            assert "full" in caught.value.message

        asyncio.run(history())
        assert os.stat(address.place).st_ino == inode


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_not_a_socket_is_never_removed(address: Address, kind: str) -> None:
    path = Path(address.place)
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/nowhere")

    async def history() -> None:
        with pytest.raises(StorageFailed):
            await UnixTransport().listen(address, Recorder, LinkOptions())

    asyncio.run(history())
    assert path.is_symlink() or path.exists()


def test_a_missing_directory_is_a_typed_error(address: Address) -> None:
    async def history() -> None:
        with pytest.raises(StorageFailed):
            await UnixTransport().listen(Address("unix", address.place + "/x/y"), Recorder, LinkOptions())

    asyncio.run(history())


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_is_as_asked_whatever_the_umask(address: Address, mode: int) -> None:
    async def history() -> int:
        before = os.umask(0o077)
        try:
            listener = await UnixTransport().listen(address, Recorder, LinkOptions(socket_mode=mode))
        finally:
            os.umask(before)
        found = stat.S_IMODE(os.stat(address.place).st_mode)
        listener.close()
        return found

    assert asyncio.run(history()) == mode


def test_a_file_that_took_our_place_is_not_removed_by_close(address: Address) -> None:
    async def history() -> None:
        first = await UnixTransport().listen(address, Recorder, LinkOptions())
        os.unlink(address.place)
        second = await UnixTransport().listen(address, Recorder, LinkOptions())
        first.close()
        assert os.path.exists(address.place)
        second.close()
        assert not os.path.exists(address.place)

    asyncio.run(history())


def test_both_sides_see_the_kernels_word_about_the_other(address: Address) -> None:
    async def history() -> None:
        async with connected(UnixTransport(), address) as pair:
            for end in (pair.near, pair.far):
                peer = end.opened_link.peer
                assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())

    asyncio.run(history())


def test_a_peer_that_dies_is_end_of_file_at_once(address: Address) -> None:
    async def history() -> None:
        accepted: list[Recorder] = []

        def factory() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        listener = await UnixTransport().listen(address, factory, LinkOptions())
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address.place)
            await until(lambda: accepted and accepted[0].link)
        await until(lambda: accepted[0].error)
        listener.close()

    asyncio.run(history())
