"""Memory and SQLite are stores, and so is a memory store with the limits of etcd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from svcmgr.services.mgmtd.store import Limits, Memory, MemoryStore, SqliteStore, Store
from tests.kit.conformance_store import CHECKS, Checker, Open, run_check

DEFAULT = Limits(1000, 4 << 20)


def memory(_: Path, limits: Limits = DEFAULT) -> Open:
    shared = Memory()

    async def open_store() -> Store:
        return MemoryStore(shared, limits)

    return open_store


def like_etcd(path: Path) -> Open:
    return memory(path, Limits(operations=128, size=3 << 19))


def sqlite(path: Path) -> Open:
    async def open_store() -> Store:
        return await SqliteStore.open(path / "store.db")

    return open_store


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("opener", [memory, like_etcd, sqlite], ids=lambda opener: opener.__name__)
def test_conformance(check: Checker, opener: Callable[[Path], Open], tmp_path: Path) -> None:
    asyncio.run(run_check(check, opener(tmp_path)))
