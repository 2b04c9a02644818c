"""Volumes on disk: durable before anything acts, and what a start makes of a directory that somebody touched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import AlreadyExists, Busy, StorageFailed, UnknownVolume
from svcmgr.host import volume_store as store_module
from svcmgr.host.volume_file import FILE_MAX, FORMAT, encode, read
from svcmgr.host.volume_store import VolumeStore
from svcmgr.paths import Layout
from svcmgr.volume import Status, Volume, check_bricks
from tests.kit.vloop import run, until
from tests.kit.world import layout_in, virtual

NOW = 1.76e9


def make(name: str = "v0", *bricks: str, at: float = NOW) -> Volume:
    return Volume.create(name, str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), bricks or (f"/srv/{name}",), at)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return layout_in(tmp_path)


@pytest.fixture
def put(layout: Layout) -> Callable[..., Path]:
    """Write a file as a volume's, with some keys changed; None leaves a key out."""

    def write(volume: Volume, file_name: str = "", /, **changes: Any) -> Path:
        content = {**json.loads(encode(volume)), **changes}
        path = layout.state / "volumes" / (file_name or f"{volume.name}.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return path

    return write


def load(layout: Layout) -> VolumeStore:
    return VolumeStore(layout, 77.9)


def quarantined(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.quarantine.iterdir()) if layout.quarantine.exists() else []


class Writes:
    """Counts writes and, when told to, refuses or holds them; threads run it."""

    def __init__(self, store: VolumeStore) -> None:
        self.began: list[str] = []
        self.refuse = False
        self._write = store._write
        store._write = self  # type: ignore[method-assign]

    def __call__(self, volume: Volume) -> None:
        self.began.append(f"{volume.name} {volume.version}")
        if self.refuse:
            raise StorageFailed("cannot write: No space left on device (errno 28)")
        self._write(volume)


# --- changes -----------------------------------------------------------------------------------------------


@virtual
async def test_a_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    volume = make().start(NOW + 1).set({"features.uss": "yes"}, NOW + 2)
    await store.commit(volume)
    path = layout.state / "volumes" / "v0.json"
    assert store.volumes == load(layout).volumes == {"v0": volume}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    content = json.loads(path.read_bytes())
    assert (content["format"], content["status"], content["options"]) == (FORMAT, "started", {"features.uss": "on"})
    assert [path.name for path in path.parent.iterdir()] == ["v0.json"]


@virtual
async def test_removing_takes_the_file_and_nothing_else(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    await store.commit(make("v0"))
    await store.commit(make("v1"))
    await store.remove("v0")
    assert list(store.volumes) == list(load(layout).volumes) == ["v1"]
    with pytest.raises(UnknownVolume):
        await store.remove("v0")
    await store.commit(make("v0"))
    assert sorted(load(layout).volumes) == ["v0", "v1"]


@virtual
async def test_who_looks_at_the_volumes_sees_one_moment(tmp_path: Path) -> None:
    store = load(layout_in(tmp_path))
    await store.commit(make("v0"))
    seen = store.volumes
    await store.commit(make("v1"))
    await store.remove("v0")
    assert list(seen) == ["v0"]


@virtual
async def test_a_full_disk_leaves_the_old_state_in_force(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    volume = make()
    await store.commit(volume)
    writes = Writes(store)
    writes.refuse = True
    with pytest.raises(StorageFailed):
        await store.commit(volume.start(NOW))
    with pytest.raises(StorageFailed):
        await store.commit(make("v1"))
    assert store.volumes == load(layout).volumes == {"v0": volume}
    writes.refuse = False
    await store.commit(volume.start(NOW))
    await store.commit(make("v1"))
    assert store.volumes["v0"].started


@virtual
async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    (layout.state / "volumes").write_text("in the way")
    with pytest.raises(StorageFailed):
        await store.commit(make())
    assert store.volumes == {}


@virtual
async def test_a_file_that_cannot_be_deleted_leaves_its_volume(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    await store.commit(make())
    path = layout.state / "volumes" / "v0.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageFailed):
        await store.remove("v0")
    assert list(store.volumes) == ["v0"]


@virtual
async def test_a_deletion_that_is_not_durable_is_said_and_still_a_deletion(tmp_path: Path, monkeypatch: Any) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    await store.commit(make())

    def refuse(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store_module, "fsync_dir", refuse)
    with pytest.raises(StorageFailed):
        await store.remove("v0")
    assert store.volumes == load(layout).volumes == {}


@virtual
async def test_changes_of_one_volume_follow_each_other(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    writes = Writes(store)
    states = [make()]
    for number in range(9):
        states.append(states[-1].set({"features.snapshot-max-count": str(number + 1)}, NOW))
    await asyncio.gather(*(store.commit(state) for state in states))
    assert writes.began == [f"v0 {number}" for number in range(1, 11)]
    assert store.volumes == load(layout).volumes == {"v0": states[-1]}


@virtual
async def test_a_change_made_from_an_older_state_is_refused(tmp_path: Path) -> None:
    """Two commands read version 1; whoever comes second must not undo what the first one did."""
    layout = layout_in(tmp_path)
    store = load(layout)
    volume = make()
    await store.commit(volume)
    first, second = volume.set({"features.uss": "on"}, NOW), volume.start(NOW)
    results = await asyncio.gather(store.commit(first), store.commit(second), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), Busy]
    assert store.volumes == load(layout).volumes == {"v0": first}


@virtual
async def test_a_volume_of_that_name_exists(tmp_path: Path) -> None:
    store = load(layout_in(tmp_path))
    await store.commit(make())
    other = Volume.create("v0", str(uuid.uuid4()), ["/srv/other"], NOW)
    with pytest.raises(AlreadyExists):
        await store.commit(other.start(NOW))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("brick", ["/srv/v0", "/srv/v0/in", "/srv"])
def test_bricks_stay_apart_also_between_two_that_are_made_at_once(tmp_path: Path, brick: str, together: bool) -> None:
    @virtual
    async def check() -> None:
        layout = layout_in(tmp_path)
        store = load(layout)
        first, second = store.commit(make("v0")), store.commit(make("v1", brick))
        if together:
            results = await asyncio.gather(first, second, return_exceptions=True)
            assert [type(result) for result in results] == [type(None), AlreadyExists]
        else:
            await first
            with pytest.raises(AlreadyExists):
                await second
        assert list(store.volumes) == list(load(layout).volumes) == ["v0"]
        await store.commit(make("v1", "/other"))

    check()


@virtual
async def test_one_id_is_one_volume(tmp_path: Path) -> None:
    store = load(layout_in(tmp_path))
    await store.commit(make("v0"))
    with pytest.raises(AlreadyExists):
        await store.commit(Volume.create("v1", make("v0").id, ["/srv/v1"], NOW))


@virtual
async def test_a_mount_point_of_another_volume_is_refused_only_to_who_asks_for_it(tmp_path: Path) -> None:
    store = load(layout_in(tmp_path))
    mounted = make("v0").set({"features.snapshot-mount": "/snaps"}, NOW)
    await store.commit(mounted)
    other = make("v1")
    await store.commit(other)
    with pytest.raises(AlreadyExists):
        await store.commit(other.set({"features.snapshot-mount": "/snaps"}, NOW))
    # A conflict that is there already must not keep anybody from stopping a volume.
    store.volumes = {"v0": mounted, "v1": other.set({"features.snapshot-mount": "/snaps"}, NOW)}
    await store.commit(store.volumes["v1"].start(NOW))


@pytest.mark.parametrize("times", [1, 3])
def test_whoever_hangs_up_outlasts_his_write(tmp_path: Path, times: int) -> None:
    """The client of a command goes while its change is being written: the disk has it, so memory has it."""

    @virtual
    async def check() -> None:
        layout = layout_in(tmp_path)
        store = load(layout)
        writes = Writes(store)
        task = asyncio.create_task(store.commit(make()))
        await until(lambda: writes.began, step=0)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.volumes == load(layout).volumes == {"v0": make()}
        await store.commit(make().start(NOW))

    check()


@virtual
async def test_whoever_hangs_up_while_he_waits_changes_nothing(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = load(layout)
    tasks = [asyncio.create_task(store.commit(state)) for state in (make(), make().start(NOW))]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert store.volumes == load(layout).volumes == {"v0": make()}


def test_many_volumes_on_a_true_loop(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)

    async def main() -> None:
        store = load(layout)

        async def live(name: str) -> None:
            volume = make(name)
            await store.commit(volume)
            volume = volume.start(NOW)
            await store.commit(volume)
            if name.endswith("0"):
                await store.remove(name)

        await asyncio.gather(*(live(f"v{number}") for number in range(60)))
        assert len(store.volumes) == 54
        assert len(store._locks) == 0

    asyncio.run(main())
    assert all(volume.started for volume in load(layout).volumes.values())
    assert len(load(layout).volumes) == 54


# --- at the start ------------------------------------------------------------------------------------------


def test_nothing_there_is_no_volumes(layout: Layout) -> None:
    store = load(layout)
    assert (store.volumes, store.invalid, store.troubles) == ({}, {}, [])
    assert not (layout.state / "volumes").exists()


BROKEN: dict[str, bytes] = {
    "torn": encode(make())[:100],
    "empty": b"",
    "zeros": b"\0" * 100,
    "list": b"[]",
    "no format": b"{}",
    "format 0": b'{"format": 0}',
    "format text": b'{"format": "1"}',
    "types": b'{"format": 1, "name": 7}',
    "bytes": b"\xff\xfe\x00",
    "deep": b'{"format": ' + b"[" * 100_000,
    "deep elsewhere": b'{"format": 1, "name": ' + b"[" * 100_000,
    "half a pair": encode(make()).replace(b"/srv/v0", b"/srv/\\ud800"),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_damaged_file_is_set_aside_and_the_others_load(layout: Layout, put: Any, content: bytes) -> None:
    put(make("v0")).write_bytes(content)
    put(make("v1"))
    store = load(layout)
    assert list(store.volumes) == ["v1"]
    assert (layout.quarantine / "v0.json.77").read_bytes() == content
    assert list(store.invalid) == ["v0"]
    assert len(store.troubles) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "v9"},
        {"name": "../v0"},
        {"id": "7"},
        {"bricks": []},
        {"bricks": ["/"]},
        {"bricks": ["relative"]},
        {"bricks": ["/a/../b"]},
        {"bricks": ["/a", "/a/b"]},
        {"bricks": ["/a/.svcmgr/b"]},
        {"status": "odd"},
        {"version": 0},
        {"version": 2**70},
        {"created": -1},
        {"modified": 1e300},
        {"bricks": None},
    ],
    ids=str,
)
def test_a_file_that_is_no_volume_is_set_aside(layout: Layout, put: Any, changes: dict[str, Any]) -> None:
    put(make("v0"), "v0.json", **changes)
    store = load(layout)
    assert (store.volumes, list(store.invalid), quarantined(layout)) == ({}, ["v0"], ["v0.json.77"])


def test_a_file_named_after_another_volume_is_set_aside(layout: Layout, put: Any) -> None:
    put(make("v0"))
    put(make("v0"), "v1.json")
    store = load(layout)
    assert (list(store.volumes), list(store.invalid), quarantined(layout)) == (["v0"], ["v1"], ["v1.json.77"])


def test_a_file_that_is_too_large_is_set_aside_unread(layout: Layout, put: Any) -> None:
    os.truncate(put(make("v0")), FILE_MAX + 1)
    assert (load(layout).volumes, quarantined(layout)) == ({}, ["v0.json.77"])


@pytest.mark.parametrize("brick", ["/srv/a", "/srv/a/b", "/srv"])
def test_of_two_volumes_with_overlapping_bricks_the_older_stays(layout: Layout, put: Any, brick: str) -> None:
    put(make("v0", brick, at=NOW + 1))
    put(make("v1", "/srv/a", at=NOW))
    store = load(layout)
    assert (list(store.volumes), list(store.invalid), quarantined(layout)) == (["v1"], ["v0"], ["v0.json.77"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)),
        min_size=1,
        max_size=6,
    )
)
def test_a_start_keeps_exactly_those_that_could_have_been_made(
    tmp_path_factory: pytest.TempPathFactory, bricks: list[str]
) -> None:
    layout = layout_in(tmp_path_factory.mktemp("root"))
    (layout.state / "volumes").mkdir()
    expected: list[Volume] = []
    for number, brick in enumerate(bricks):
        volume = make(f"v{number}", brick, at=NOW + number)
        (layout.state / "volumes" / f"v{number}.json").write_bytes(encode(volume))
        with contextlib.suppress(AlreadyExists):
            check_bricks(volume, expected)
            expected.append(volume)
    assert list(load(layout).volumes.values()) == expected


def test_of_two_volumes_with_one_id_the_older_stays(layout: Layout, put: Any) -> None:
    """A file was copied: the copy must not pass for the original, whose bricks it shares."""
    put(make("v0"))
    put(make("v1", "/srv/v0", at=NOW + 1), id=make("v0").id)
    assert (list(load(layout).volumes), quarantined(layout)) == (["v0"], ["v1.json.77"])


FOREIGN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "text": ("README", lambda path: path.write_text("x")),
    "directory": ("v7.json", lambda path: path.mkdir()),
    "fifo": ("v7.json", lambda path: os.mkfifo(path)),
    "link to a good one": ("v7.json", lambda path: path.symlink_to("v0.json")),
    "link to nothing": ("v7.json", lambda path: path.symlink_to("/nowhere")),
    "bytes": (os.fsdecode(b"\xff\n.json"), lambda path: path.write_text("{}")),
    "no name": (".json", lambda path: path.write_text("{}")),
    "somebody's temporary": (".v0.tmp", lambda path: path.write_text("{}")),
}


@pytest.mark.parametrize(("name", "lay"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_ours_is_set_aside(layout: Layout, put: Any, name: str, lay: Callable[[Path], object]) -> None:
    place = put(make("v0")).parent
    lay(place / name)
    store = load(layout)
    assert list(store.volumes) == ["v0"]
    assert quarantined(layout) == [f"{name}.77"]
    assert len(store.invalid) == 1
    "".join([*store.invalid, *store.invalid.values(), *store.troubles]).encode()


def test_what_a_crash_left_is_removed(layout: Layout, put: Any) -> None:
    place = put(make("v0")).parent
    (place / ".v0.json.123.tmp").write_text("half")
    store = load(layout)
    assert (list(store.volumes), store.troubles) == (["v0"], [])
    assert [path.name for path in place.iterdir()] == ["v0.json"]


LATER = [
    {"format": FORMAT + 1},
    {"format": FORMAT + 1, "name": {"a": "new shape"}},
    {"replicas": 2},
    {"options": {"features.later": "on"}},
    {"options": {"features.snapshot-method": "zfs"}},
]


@pytest.mark.parametrize("changes", LATER, ids=str)
def test_what_a_later_version_wrote_is_left_and_never_written_over(tmp_path: Path, put: Any, changes: Any) -> None:
    path = put(make("v0"), "v0.json", **changes)
    content = path.read_bytes()

    @virtual
    async def check() -> None:
        layout = layout_in(tmp_path)
        store = load(layout)
        assert (store.volumes, list(store.invalid), quarantined(layout)) == ({}, ["v0"], [])
        assert len(store.troubles) == 1
        with pytest.raises(AlreadyExists):
            await store.commit(make("v0"))
        with pytest.raises(UnknownVolume):
            await store.remove("v0")
        await store.commit(make("v1"))
        assert path.read_bytes() == content

    check()


def test_an_option_written_by_hand_is_understood(layout: Layout, put: Any) -> None:
    put(make("v0"), options={"features.uss": "YES"})
    assert load(layout).volumes["v0"].options == {"features.uss": "on"}


@virtual
async def test_the_name_of_a_file_set_aside_is_free_again(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    (layout.state / "volumes").mkdir()
    (layout.state / "volumes" / "v0.json").write_text("damaged")
    store = load(layout)
    await store.commit(make("v0"))
    assert (store.invalid, load(layout).invalid) == ({}, {})
    assert quarantined(layout) == ["v0.json.77"]


@virtual
async def test_a_file_that_cannot_be_moved_stays_and_is_not_written_over(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    path = layout.state / "volumes" / "v0.json"
    path.parent.mkdir()
    path.write_text("damaged")
    layout.quarantine.write_text("in the way")
    store = load(layout)
    assert (store.volumes, list(store.invalid)) == ({}, ["v0"])
    with pytest.raises(AlreadyExists):
        await store.commit(make("v0"))
    assert path.read_text() == "damaged"


def test_a_directory_that_cannot_be_read_is_not_an_empty_one(layout: Layout) -> None:
    (layout.state / "volumes").write_text("no directory")
    with pytest.raises(StorageFailed):
        load(layout)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True).filter(lambda name: name != "all")
PATHS = st.lists(
    st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/"), min_size=1, max_size=20).filter(
        lambda part: part not in (".", "..", ".svcmgr")
    ),
    min_size=1,
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))
VOLUMES = st.builds(
    Volume,
    name=NAMES,
    id=st.uuids().map(str),
    bricks=PATHS.map(lambda path: (path,)),
    status=st.sampled_from(Status),
    options=st.fixed_dictionaries(
        {},
        optional={
            "features.uss": st.sampled_from(["on", "off"]),
            "features.snapshot-max-count": st.integers(1, 65536).map(str),
        },
    ),
    version=st.integers(1, 2**53),
    created=st.floats(0, 253402300799),
    modified=st.floats(0, 253402300799),
)


@settings(max_examples=100, deadline=None)
@given(volume=VOLUMES)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, volume: Volume) -> None:
    path = tmp_path_factory.mktemp("volumes") / f"{volume.name}.json"
    path.write_bytes(encode(volume))
    assert read(path) == volume


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_never_ends_a_start(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    layout = layout_in(tmp_path_factory.mktemp("root"))
    content = bytearray(encode(make("v0").start(NOW)))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (layout.state / "volumes").mkdir()
    (layout.state / "volumes" / "v0.json").write_bytes(content)
    store = load(layout)
    assert len(store.volumes) + len(store.invalid) == 1


def test_the_largest_volume_fits(tmp_path: Path) -> None:
    """A thousand bricks, each as long as a path may be, of characters that JSON must escape."""
    bricks = [f"/{number}" + ("/" + '"' * 254) * 16 for number in range(1000)]
    volume = make("v0", *bricks)
    path = tmp_path / "v0.json"
    path.write_bytes(encode(volume))
    assert path.stat().st_size < FILE_MAX
    assert read(path) == volume


def test_a_history_of_random_changes_and_restarts(tmp_path: Path) -> None:
    """Whatever was committed is what a start finds; failures in between change nothing."""
    layout = layout_in(tmp_path)

    async def main() -> None:
        import random

        rng = random.Random(5)
        store = load(layout)
        for step in range(150):
            name = f"v{rng.randrange(4)}"
            present = store.volumes.get(name)
            writes = Writes(store)
            writes.refuse = rng.random() < 0.2
            try:
                if present is None:
                    await store.commit(make(name))
                elif rng.random() < 0.2:
                    await store.remove(name)
                else:
                    await store.commit(present.set({"features.snapshot-max-count": str(step + 1)}, NOW + step))
            except StorageFailed:
                assert store.volumes.get(name) == present
            reloaded = load(layout)
            assert (reloaded.volumes, reloaded.troubles) == (store.volumes, [])
            store = reloaded

    run(main())
