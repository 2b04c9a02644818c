"""Exports as files, and the program that imports them; the lines themselves are tested with the store."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import attrs
import msgspec
import pytest

from svcmgr.errors import AlreadyExists, BadInput, NotPermitted, StorageFailed
from svcmgr.services.mgmtd import importing
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.store import (
    Batch,
    Delete,
    Put,
    SqliteStore,
    StoreFull,
    dump,
    exportfile,
    keys,
    restore,
    take,
)
from svcmgr.services.mgmtd.store.restore import with_lease_released
from tests.kit.clusterdata import one_of_each, store_all
from tests.kit.mgmtds import ADMIN, memory, serving
from tests.kit.world import virtual


def exported(tmp_path: Path, name: str = "export.jsonl") -> Path:
    """An export of a store with one record of each kind."""

    async def make() -> Path:
        store = await SqliteStore.open(tmp_path / f"{name}.db")
        try:
            await store_all(store, one_of_each())
            async with store.snapshot() as snapshot:
                exportfile.write(tmp_path / name, dump.export(await take(snapshot, events=True), 5.0))
        finally:
            await store.aclose()
        return tmp_path / name

    return asyncio.run(make())


def test_what_is_imported_exports_the_same(tmp_path, capsys):
    first = exported(tmp_path)
    store = tmp_path / "new.db"
    assert importing.main([str(store), str(first)]) == 0
    count = len(first.read_bytes().splitlines()) - 2
    assert capsys.readouterr().out == f"{count} records imported into {store}\n"

    async def again() -> bytes:
        opened = await SqliteStore.open(store)
        try:
            async with opened.snapshot() as snapshot:
                return b"".join(dump.export(await take(snapshot, events=True), 5.0))
        finally:
            await opened.aclose()

    def records(text: bytes) -> list[bytes]:
        return [line for line in text.splitlines() if b'"kind"' in line and b'"kind":"lease"' not in line]

    assert records(asyncio.run(again())) == records(first.read_bytes())


def test_a_store_that_holds_something_is_replaced_only_on_demand(tmp_path, capsys):
    file, store = exported(tmp_path), tmp_path / "new.db"
    assert importing.main([str(store), str(file)]) == 0
    assert importing.main([str(store), str(file)]) == AlreadyExists.exit_code
    assert "--replace" in capsys.readouterr().err
    assert importing.main([str(store), str(file), "--replace"]) == 0


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-40], lambda text: text.replace(b"5.0", b"6.0", 1), lambda text: b"x"]
)
def test_a_damaged_export_leaves_no_store(tmp_path, capsys, damage):
    file, store = exported(tmp_path), tmp_path / "new.db"
    file.write_bytes(damage(file.read_bytes()))
    assert importing.main([str(store), str(file)]) == BadInput.exit_code
    assert capsys.readouterr().err.startswith("cannot import")
    assert not store.exists()


def test_what_cannot_be_read_is_said(tmp_path, capsys):
    assert importing.main([str(tmp_path / "s"), str(tmp_path / "none")]) == BadInput.exit_code
    assert "there is no such file" in capsys.readouterr().err
    assert importing.main([str(tmp_path / "s"), str(tmp_path)]) == StorageFailed.exit_code
    assert "Is a directory" in capsys.readouterr().err
    os.mkfifo(tmp_path / "fifo")
    assert importing.main([str(tmp_path / "s"), str(tmp_path / "fifo")]) == BadInput.exit_code
    assert capsys.readouterr().err.startswith("cannot import")


def test_a_file_is_for_its_owner_and_never_overwritten(tmp_path):
    file = tmp_path / "f"
    assert exportfile.write(file, [b"a\n", b"b\n"]) == 4
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(AlreadyExists):
        exportfile.write(file, [b"c\n"])
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyExists):
        exportfile.write(tmp_path / "link", [b"c\n"])
    assert (file.read_bytes(), (tmp_path / "elsewhere").exists()) == (b"a\nb\n", False)
    with pytest.raises(StorageFailed, match="No such file"):
        exportfile.write(tmp_path / "no" / "f", [])


def test_nothing_is_left_of_an_export_that_failed(tmp_path):
    def lines(error):
        yield b"a\n"
        raise error

    for error, raised in (
        (OSError(errno.ENOSPC, "No space left on device"), StoreFull),
        (OSError(errno.EIO, "Input/output error"), StorageFailed),
        (BadInput("cannot export: bad"), BadInput),
    ):
        with pytest.raises(raised):
            exportfile.write(tmp_path / "f", lines(error))
        assert list(tmp_path.iterdir()) == []


@virtual
async def test_only_who_is_here_may_export(tmp_path):
    async with serving() as one:
        file = tmp_path / "f"
        with pytest.raises(NotPermitted):
            await one.call("export", attrs.evolve(ADMIN, local=False), cluster="c", path=str(file))
        for path in ("f", "", "/a\n", "/" + "x" * 5000):
            with pytest.raises(BadInput):
                await one.call("export", path=path)
        assert not file.exists()


async def export_of(store) -> dump.Dump:
    async with store.snapshot() as snapshot:
        return dump.read(list(dump.export(await take(snapshot, events=True), 5.0)))


@virtual
async def test_a_mgmtd_that_was_not_stopped_takes_over_what_was_imported():
    store = memory()
    async with serving(store) as one:
        await one.register(2)
        exported = await export_of(store)
        await one.register(3)
        epoch = (await one.answer("nodes")).epoch
        await restore(store, await with_lease_released(store, exported), replace=True, utc=6.0)
        with pytest.raises(NotPrimary):
            await one.register(4)
        await asyncio.sleep(30.0)
        answer = await one.answer("nodes")
        assert [node["app"]["node"] for node in msgspec.to_builtins(answer.result)["nodes"]] == [1, 2]
        assert answer.epoch > epoch
        await one.register(4)


@virtual
@pytest.mark.parametrize("damage", [None, Put(keys.LEASE, b"garbage"), Delete(keys.LEASE)])
async def test_no_epoch_comes_twice_by_an_import(damage):
    store = memory()
    async with serving(store) as one:
        exported = await export_of(store)
        first = (await one.answer("nodes")).epoch
    async with serving(store) as one:
        second = (await one.answer("nodes")).epoch
    assert first < second
    if damage is not None:
        await store.commit(Batch((damage,)))
    await restore(store, await with_lease_released(store, exported), replace=True, utc=6.0)
    async with serving(store) as one:
        assert (await one.answer("nodes")).epoch > second
