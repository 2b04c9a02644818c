"""Reading snapshots over RPC as the caller: true users, checked by the kernel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from svcmgr.conn import Peer
from svcmgr.errors import BadInput, NotPermitted, StorageFailed
from svcmgr.proc import credentials
from svcmgr.services.snapd import reading, wire
from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.reading import Reader
from tests.kit.daemonproc import until

ROOT = Peer(1, 0, 0)
NOBODY = Peer(2, 65534, 65534)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "content"
    (top / "dir").mkdir(parents=True)
    (top / ".svcmgr").mkdir()
    (top / ".svcmgr" / "secret").write_text("ours")
    (top / "open").write_text("for all")
    (top / "closed").write_text("for root")
    (top / "closed").chmod(0o600)
    (top / "room").mkdir(mode=0o700)
    (top / "room" / "open").write_text("behind a door")
    (top / "out").symlink_to(tmp_path)
    os.mkfifo(top / "fifo")
    os.mkfifo(top / "dir" / "fifo")
    (tmp_path / "outside").write_text("outside")
    return top


@pytest.fixture
def one(top: Path) -> Exposed:
    return Exposed("one", "id", 1.0, (top,))


def read(exposed: Exposed, path: str, peer: Peer = ROOT, **more: int) -> wire.ReadReply:
    async def ask() -> wire.ReadReply:
        return await Reader().read(wire.ReadRequest(exposed.name, path, **more), exposed, peer)

    return asyncio.run(ask())


def look(exposed: Exposed, path: str, peer: Peer = ROOT, brick: int = 0) -> wire.Entry:
    async def ask() -> wire.Entry:
        return await Reader().stat(wire.PathRequest(exposed.name, path, brick), exposed, peer)

    return asyncio.run(ask())


def names(exposed: Exposed, path: str = "", peer: Peer = ROOT, brick: int = 0) -> list[str]:
    async def ask() -> wire.ListReply:
        return await Reader().list(wire.PathRequest(exposed.name, path, brick), exposed, peer)

    return [entry.name for entry in asyncio.run(ask()).entries]


def test_a_directory_a_file_a_piece(one, top):
    assert names(one) == sorted({*os.listdir(top)} - {".svcmgr"})
    assert names(one, "/dir/./") == ["fifo"]
    entry = look(one, "closed")
    assert (entry.kind, entry.mode, entry.size, entry.uid) == ("file", 0o600, 8, 0)
    assert look(one, "out").target == str(top.parent)
    assert look(one, "").kind == "directory"
    assert read(one, "open") == wire.ReadReply(b"for all", 7, True)
    assert read(one, "open", offset=4, length=2) == wire.ReadReply(b"al", 7, False)
    assert read(one, "open", offset=99) == wire.ReadReply(b"", 7, True)


def test_the_kernel_decides_what_another_user_may(one, top):
    assert read(one, "open", NOBODY).data == b"for all"
    for act in (lambda: read(one, "closed", NOBODY), lambda: names(one, "room", NOBODY)):
        with pytest.raises(NotPermitted):
            act()
    with pytest.raises(NotPermitted):
        look(one, "room/open", NOBODY)
    assert look(one, "closed", NOBODY).mode == 0o600  # as ls(1) shows it
    subprocess.run(["setfacl", "-m", f"u:{NOBODY.uid}:r", top / "closed"], check=True)
    assert read(one, "closed", NOBODY).data == b"for root"


def test_groups_of_the_caller_count(one, top, monkeypatch):
    os.chown(top / "closed", 0, 4242)
    (top / "closed").chmod(0o640)
    assert read(one, "closed", Peer(2, 65534, 4242)).data == b"for root"
    monkeypatch.setattr(credentials, "user_of", lambda uid, gid: credentials.User(uid, gid, (gid, 4242)))
    assert read(one, "closed", NOBODY).data == b"for root"


def test_the_groups_of_root_are_not_lent(one, top):
    os.chown(top / "closed", 1, 0)
    (top / "closed").chmod(0o040)
    with pytest.raises(NotPermitted):
        read(one, "closed", NOBODY)


def ids() -> set[str]:
    """What all threads of this process are, with their file-system ids."""
    found = set()
    for path in Path("/proc/self/task").glob("*/status"):
        found.add(
            "".join(line for line in path.read_text().splitlines() if line.startswith(("Uid:", "Gid:", "Groups:")))
        )
    return found


def test_no_thread_keeps_what_it_became(one):
    before = ids()
    read(one, "open", NOBODY)
    until(lambda: not any(thread.name.startswith("as-") for thread in threading.enumerate()), "the thread's end")
    assert ids() == before
    assert read(one, "closed").data == b"for root"


@pytest.mark.parametrize(
    "path",
    ["../outside", "dir/../../outside", "out/outside", "nothing", "open/below", ".svcmgr/secret", ".svcmgr", "a\0b"],
)
def test_no_path_leads_out_or_to_what_is_ours(one, path):
    with pytest.raises(BadInput):
        read(one, path)
    with pytest.raises(BadInput):
        look(one, path)
    with pytest.raises(BadInput):
        names(one, path)


def test_what_is_not_a_regular_file_is_not_opened(one):
    for path in ("fifo", "dir/fifo", "dir", "out", ""):
        with pytest.raises(BadInput):
            read(one, path)


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 0), (0, -1), (0, wire.READ_MAX + 1), (1 << 63, 1)])
def test_pieces_that_are_none(one, offset, length):
    with pytest.raises(BadInput):
        read(one, "open", offset=offset, length=length)


def test_several_bricks_by_directory_or_by_number(one, top):
    two = Exposed("two", "id2", 5.0, (top, top / "dir"))
    assert names(two) == ["brick-1", "brick-2"]
    assert look(two, "").kind == "directory"
    assert names(two, "brick-2") == names(two, "", brick=2) == ["fifo"]
    assert read(two, "brick-1/open").data == read(two, "open", brick=1).data == b"for all"
    for path, brick in (("brick-3", 0), ("brick-0", 0), ("open", 0), ("open", 3), ("open", -1)):
        with pytest.raises(BadInput):
            look(two, path, brick=brick)
    with pytest.raises(BadInput):
        look(one, "open", brick=2)


def test_names_that_are_not_text(one, top):
    Path(os.fsdecode(os.fsencode(top) + b"/dir/caf\xe9")).write_text("latin")
    (top / "dir" / "caf\\xe8").write_text("literal")
    assert names(one, "dir") == ["caf\\xe8", "caf\\xe9", "fifo"]
    assert read(one, "dir/caf\\xe9").data == b"latin"
    assert read(one, "dir/caf\\xe8").data == b"literal"
    with pytest.raises(BadInput):
        read(one, "dir/\\x2e\\x2e\\x2f\\x2e\\x2e\\x2foutside")


def test_a_long_listing_is_cut(one, top, monkeypatch):
    monkeypatch.setattr(reading, "LIST_MAX", 3)

    async def ask() -> wire.ListReply:
        return await Reader().list(wire.PathRequest("one"), one, ROOT)

    reply = asyncio.run(ask())
    assert len(reply.entries) == 3
    assert reply.truncated


def test_a_brick_that_is_away_is_a_failure_of_storage(tmp_path):
    gone = Exposed("gone", "id", 1.0, (tmp_path / "nothing",))
    with pytest.raises(StorageFailed):
        names(gone)


def test_many_callers_at_once_are_served_each_as_himself(one):
    async def ask() -> list[object]:
        reader = Reader()
        request = wire.ReadRequest("one", "closed")
        calls = [reader.read(request, one, peer) for peer in (ROOT, NOBODY) * 30]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(ask())
    assert all(isinstance(answer, wire.ReadReply) for answer in answers[::2])
    assert all(isinstance(answer, NotPermitted) for answer in answers[1::2])


def test_a_daemon_that_is_not_root_serves_nobody_else(one):
    code = (
        "import os,sys; from concurrent.futures import Future; import contextlib\n"
        "from svcmgr.proc.credentials import start_as\n"
        "from svcmgr.errors import NotPermitted\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "enter = contextlib.nullcontext\n"
        "assert start_as(65534, 65534, enter, lambda _: 'own').result() == 'own'\n"
        "error = start_as(1, 1, enter, lambda _: 'other').exception()\n"
        "sys.exit(0 if isinstance(error, NotPermitted) else 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
