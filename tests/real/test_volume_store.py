"""Volumes on true file systems: a full one, one that became read-only, and a writer that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from svcmgr.errors import StorageFailed
from svcmgr.host.volume_store import VolumeStore
from svcmgr.paths import Layout, resolve
from svcmgr.volume import Volume

NOW = 1.76e9
ID = "6ad5c1b4-0f0c-4c5e-9d43-6f9f3a1c2b7d"

WRITER = """
import asyncio, sys
from svcmgr.host.volume_store import VolumeStore
from svcmgr.paths import resolve

async def main():
    store = VolumeStore(resolve(sys.argv[1], {}, 0), 0.0)
    volume = store.volumes["v0"]
    while True:
        volume = volume.set({"features.snapshot-max-count": str(volume.version % 1000 + 1)}, 1.76e9)
        await store.commit(volume)
        print(volume.version, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Layout]:
    """A layout whose state is on a file system of its own, 64 KiB small."""
    layout = resolve(tmp_path / "root", {}, 0)
    layout.state.mkdir(parents=True)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "svcmgr-test", str(layout.state)], check=True)
    try:
        yield layout
    finally:
        subprocess.run(["/bin/umount", str(layout.state)], check=True)


def fill(layout: Layout) -> None:
    with (layout.state / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert os.statvfs(layout.state).f_bfree == 0


def read_only(layout: Layout) -> None:
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(layout.state)], check=True)


def with_room(layout: Layout) -> None:
    subprocess.run(["/bin/mount", "-o", "remount,rw", str(layout.state)], check=True)
    (layout.state / "fill").unlink(missing_ok=True)


@pytest.mark.parametrize("spoil", [fill, read_only], ids=["full", "read-only"])
def test_a_file_system_that_refuses_leaves_the_old_state_in_force(
    small: Layout, spoil: Callable[[Layout], None]
) -> None:
    async def main() -> None:
        store = VolumeStore(small, NOW)
        volume = Volume.create("v0", ID, ["/srv/v0"], NOW)
        await store.commit(volume)
        path = small.state / "volumes" / "v0.json"
        before = path.read_bytes()
        spoil(small)
        for changed in (volume.start(NOW), volume.set({"features.uss": "on"}, NOW)):
            with pytest.raises(StorageFailed):
                await store.commit(changed)
        assert (store.volumes, path.read_bytes()) == ({"v0": volume}, before)
        assert [entry.name for entry in path.parent.iterdir()] == ["v0.json"]
        with_room(small)
        await store.commit(volume.start(NOW))
        assert VolumeStore(small, NOW).volumes["v0"].started

    asyncio.run(main())


def test_a_read_only_file_system_deletes_nothing(small: Layout) -> None:
    async def main() -> None:
        store = VolumeStore(small, NOW)
        await store.commit(Volume.create("v0", ID, ["/srv/v0"], NOW))
        read_only(small)
        with pytest.raises(StorageFailed):
            await store.remove("v0")
        assert list(store.volumes) == list(VolumeStore(small, NOW).volumes) == ["v0"]

    asyncio.run(main())


def test_a_writer_that_is_killed_leaves_what_it_committed(tmp_path: Path) -> None:
    """Whatever version a command was told is done is on the disk, whole; at most the next one is there instead."""
    layout = resolve(tmp_path, {}, 0)
    layout.state.mkdir(parents=True)
    asyncio.run(VolumeStore(layout, NOW).commit(Volume.create("v0", ID, ["/srv/v0"], NOW)))
    for turn in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            try:
                told = [writer.stdout.readline() for _ in range(5 + turn)]
            finally:
                writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        store = VolumeStore(layout, NOW)
        assert store.troubles == []
        assert store.volumes["v0"].version - int(told[-1]) in (0, 1)
        assert [entry.name for entry in (layout.state / "volumes").iterdir()] == ["v0.json"]
