"""What svcmgrd keeps on disk: intent and ledger."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import StorageFailed
from svcmgr.host import store as store_module
from svcmgr.host.facts import FILE_LIMIT, Fact, Intent, read_facts
from svcmgr.host.store import IntentStore, Ledger, quarantine
from svcmgr.paths import Layout
from tests.kit.vloop import run, until
from tests.kit.world import layout_in, virtual


def on_disk(layout: Layout) -> Intent:
    return msgspec.json.decode((layout.state / "intent.json").read_bytes(), type=Intent)


class Writes:
    """Counts writes and, when told to, refuses or delays them."""

    def __init__(self, store: IntentStore) -> None:
        self.count = 0
        self.running = 0
        self.together = 0
        self.refuse = False
        self._write = store._write
        store._write = self  # type: ignore[method-assign]

    def __call__(self, data: bytes) -> None:
        self.count += 1
        if self.refuse:
            raise StorageFailed("cannot write intent.json: No space left on device (errno 28)")
        self.running += 1
        self.together = max(self.together, self.running)
        self._write(data)
        self.running -= 1


# --- intent ------------------------------------------------------------------------------------------------


@virtual
async def test_a_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = IntentStore(layout, 0.0)
    await store.commit({"a": "up", "b": "down"}, {"a": False}, boot_id="x")
    expected = Intent("x", {"a": "up", "b": "down"}, {"a": False})
    assert store.intent == on_disk(layout) == IntentStore(layout, 0.0).intent == expected
    assert (layout.state / "intent.json").stat().st_mode & 0o777 == 0o600


@virtual
async def test_commits_change_what_they_name(tmp_path: Path) -> None:
    store = IntentStore(layout_in(tmp_path), 0.0)
    await store.commit({"a": "up", "b": "up"}, {"a": True, "b": True}, boot_id="x")
    await store.commit({"b": "down", "a": None}, {"b": None})
    assert store.intent == Intent("x", {"b": "down"}, {"a": True})


@virtual
async def test_many_commits_are_few_writes(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = IntentStore(layout, 0.0)
    writes = Writes(store)
    await asyncio.gather(*(store.commit({f"s{n}": "up"}) for n in range(200)))
    assert writes.count <= 2
    assert len(on_disk(layout).goals) == 200


@virtual
async def test_the_last_of_commits_that_share_a_write_counts(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = IntentStore(layout, 0.0)
    await asyncio.gather(*(store.commit({"a": word}) for word in ("up", "down", "up", "down")))
    assert on_disk(layout).goals == {"a": "down"}


@virtual
async def test_what_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    store = IntentStore(layout_in(tmp_path), 0.0)
    await store.commit({"a": "up"})
    writes = Writes(store)
    await store.commit({"a": "up"})
    await store.commit({"b": None}, {"b": None})
    assert writes.count == 0


@virtual
async def test_a_write_that_fails_leaves_memory_and_disk_as_they_were(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = IntentStore(layout, 0.0)
    await store.commit({"a": "up"})
    writes = Writes(store)
    writes.refuse = True
    results = await asyncio.gather(*(store.commit({"a": w}) for w in ("down", "down")), return_exceptions=True)
    assert [type(r) for r in results] == [StorageFailed, StorageFailed]
    assert store.intent == on_disk(layout) == Intent("", {"a": "up"})
    writes.refuse = False
    await store.commit({"b": "up"})
    assert on_disk(layout).goals == {"a": "up", "b": "up"}


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("who", range(5))
def test_a_cancelled_command_does_not_take_others_along(tmp_path: Path, who: int, turns: int) -> None:
    """The client of one command hangs up, while its change waits or while it writes for all."""

    @virtual
    async def check() -> None:
        layout = layout_in(tmp_path)
        store = IntentStore(layout, 0.0)
        writes = Writes(store)
        tasks = [asyncio.create_task(store.commit({f"s{n}": "up"})) for n in range(5)]
        await until(lambda: writes.count >= (1 if turns < 3 else 2), step=0)
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[who].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(r is None for n, r in enumerate(results) if n != who)
        await store.commit({"last": "up"})
        assert {f"s{n}" for n in range(5) if n != who} | {"last"} <= set(on_disk(layout).goals)
        assert store.intent == on_disk(layout)
        assert writes.together == 1

    check()


@virtual
async def test_a_command_that_hangs_up_while_it_waits_leaves_nothing_behind(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = IntentStore(layout, 0.0)
    first = asyncio.create_task(store.commit({"a": "up"}))
    second = asyncio.create_task(store.commit({"b": "up"}))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await store.commit({"c": "up"})
    assert on_disk(layout).goals == {"a": "up", "c": "up"}


@virtual
async def test_the_previous_content_stays_beside_it(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    store = IntentStore(layout, 0.0)
    for word in ("up", "down", "up"):
        await store.commit({"a": word})
    assert json.loads((layout.state / "intent.json.1").read_text())["goals"] == {"a": "down"}
    assert sorted(p.name for p in layout.state.iterdir()) == ["intent.json", "intent.json.1"]


BROKEN = {
    "torn": b'{"boot_id":"x","goals":{"a":"u',
    "empty": b"",
    "zeros": b"\0" * 100,
    "list": b"[]",
    "types": b'{"goals": {"a": 1}}',
    "bytes": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_an_unreadable_intent_is_set_aside_and_the_previous_one_used(tmp_path: Path, content: bytes) -> None:
    layout = layout_in(tmp_path)
    (layout.state / "intent.json").write_bytes(content)
    (layout.state / "intent.json.1").write_bytes(b'{"goals": {"a": "up"}}')
    store = IntentStore(layout, 77.9)
    assert store.intent == Intent("", {"a": "up"})
    assert (layout.quarantine / "intent.json.77").read_bytes() == content
    assert len(store.troubles) == 1
    assert "moved to" in store.troubles[0]
    assert not (layout.state / "intent.json").exists()


def test_both_unreadable_is_an_empty_intent_and_nothing_is_deleted(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    for name in ("intent.json", "intent.json.1"):
        (layout.state / name).write_bytes(b"x" + name.encode())
    store = IntentStore(layout, 5.0)
    assert store.intent == Intent()
    assert len(store.troubles) == 2
    assert sorted(p.name for p in layout.quarantine.iterdir()) == ["intent.json.1.5", "intent.json.5"]


def test_a_directory_in_its_place_is_moved_too(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    (layout.state / "intent.json").mkdir()
    store = IntentStore(layout, 5.0)
    assert store.intent == Intent()
    assert (layout.quarantine / "intent.json.5").is_dir()


def test_a_missing_intent_is_no_trouble(tmp_path: Path) -> None:
    store = IntentStore(layout_in(tmp_path), 5.0)
    assert (store.intent, store.troubles) == (Intent(), [])


def test_unknown_keys_of_a_later_version_are_not_fatal(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    (layout.state / "intent.json").write_bytes(b'{"goals": {"a": "up"}, "later": [1, 2]}')
    store = IntentStore(layout, 5.0)
    assert (store.intent.goals, store.troubles) == ({"a": "up"}, [])


def test_quarantine_never_overwrites(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    for n in range(3):
        path = layout.state / "intent.json"
        path.write_text(str(n))
        quarantine(layout, path, 5.0)
    assert sorted(p.read_text() for p in layout.quarantine.iterdir()) == ["0", "1", "2"]
    with pytest.raises(StorageFailed):
        quarantine(layout, layout.state / "absent", 5.0)


# --- ledger ------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(layout_in(tmp_path))
    found.load()
    found.open()
    yield found
    found.close()


def again(tmp_path: Path) -> Ledger:
    found = Ledger(layout_in(tmp_path))
    found.load()
    return found


def test_facts_come_back(tmp_path: Path, ledger: Ledger) -> None:
    fact = ledger.fact("web")
    fact.pid, fact.ticks, fact.boot_id, fact.incarnation = 7, 8, "b", 3
    ledger.write(fact)
    fact.ready = True
    ledger.write(fact)
    found = again(tmp_path)
    assert found.facts == {"web": Fact("web", pid=7, ticks=8, boot_id="b", incarnation=3, ready=True)}
    assert (found.generation, found.skipped, found.trouble) == (2, 0, "")


def test_each_life_is_a_generation(tmp_path: Path) -> None:
    for generation in (1, 2, 3):
        ledger = again(tmp_path)
        assert ledger.generation == generation
        ledger.open()
        ledger.close()
        ledger.close()


def test_a_torn_last_line_loses_that_line_alone(tmp_path: Path, ledger: Ledger) -> None:
    for n in range(5):
        ledger.write(Fact("web", pid=n + 1))
    whole = ledger.path.read_bytes()
    last = len(whole.splitlines()[-1])
    for cut in range(1, last + 1):
        ledger.path.write_bytes(whole[:-cut])
        found = again(tmp_path)
        expected = 5 if cut == 1 else 4
        assert found.facts["web"].pid == expected
        assert found.skipped == (0 if cut in (1, last + 1) else 1)


def test_foreign_lines_are_skipped_and_counted(tmp_path: Path, ledger: Ledger) -> None:
    ledger.write(Fact("a", pid=1))
    with ledger.path.open("ab") as file:
        file.write(b'garbage\n\xff\xfe\n[1]\n{"pid": 5}\n{"key": 7}\n{"key": "b", "pid": "x"}\n"text"\n')
        file.write(b'{"generation": "many"}\n\n{"key": "c", "pid": 3, "later": true}\n')
    found = again(tmp_path)
    assert set(found.facts) == {"a", "c"}
    assert found.skipped == 8  # an empty line is nothing
    found.open()
    assert again(tmp_path).skipped == 0
    found.close()


def test_a_line_torn_in_the_middle_does_not_take_the_next_along(tmp_path: Path, ledger: Ledger) -> None:
    """svcmgrd died within a write; the next one folds before it appends."""
    with ledger.path.open("ab") as file:
        file.write(b'{"key": "torn", "pi')
    following = again(tmp_path)
    following.open()
    following.write(Fact("web", pid=9))
    following.close()
    found = again(tmp_path)
    assert set(found.facts) == {"web"}
    assert found.skipped == 0


def test_opening_folds_to_one_line_for_each(tmp_path: Path, ledger: Ledger) -> None:
    for n in range(100):
        ledger.write(Fact("web", pid=n))
        ledger.write(Fact("db", pid=n))
    following = again(tmp_path)
    following.open()
    following.close()
    assert len(ledger.path.read_bytes().splitlines()) == 3


def test_it_is_folded_when_it_has_grown(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_FOLD_AFTER", 1000)
    ledger.open()
    fact = ledger.fact("web")
    sizes = []
    for n in range(500):
        fact.pid = n
        ledger.write(fact)
        sizes.append(ledger.path.stat().st_size)
    assert max(sizes) < 1300
    assert again(tmp_path).facts["web"].pid == 499
    assert ledger.trouble == ""


def test_forgetting_removes_the_line_at_the_next_fold(tmp_path: Path, ledger: Ledger) -> None:
    ledger.write(ledger.fact("web"))
    ledger.write(ledger.fact("db"))
    ledger.forget("web")
    ledger.forget("never")
    assert again(tmp_path).facts.get("web", Fact("web")) == Fact("web")
    ledger.open()
    assert "web" not in again(tmp_path).facts


def test_a_disk_that_refuses_is_remembered_and_forgiven(tmp_path: Path, ledger: Ledger) -> None:
    fd, ledger._fd = ledger._fd, os.open("/dev/full", os.O_WRONLY)
    ledger.write(Fact("web", pid=1))
    assert "No space left" in ledger.trouble
    os.close(ledger._fd)
    ledger._fd = fd
    ledger.write(Fact("web", pid=2))
    assert ledger.trouble == ""
    assert again(tmp_path).facts["web"].pid == 2


def test_a_ledger_that_is_no_file_is_refused(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    (layout.state / "ledger.jsonl").mkdir()
    with pytest.raises(StorageFailed, match="cannot read the ledger"):
        Ledger(layout).load()


def test_a_ledger_that_is_too_large_is_not_ours(tmp_path: Path) -> None:
    path = layout_in(tmp_path).state / "ledger.jsonl"
    with path.open("wb") as file:
        file.truncate(FILE_LIMIT + 1)
    with pytest.raises(StorageFailed, match="larger than"):
        read_facts(path)


FACTS = st.builds(
    Fact,
    key=st.sampled_from(["a", "b", "c@1"]),
    incarnation=st.integers(0, 1 << 40),
    pid=st.integers(0, 1 << 22),
    digest=st.text(max_size=16),
    ready=st.booleans(),
    settled=st.sampled_from(["", "down", "failed"]),
    reason=st.text(max_size=30),
    at=st.floats(0, 1e12),
    exit_code=st.none() | st.integers(0, 255),
    exit_tail=st.text(max_size=200),
)


@settings(max_examples=60, deadline=None)
@given(facts=st.lists(FACTS, max_size=20))
def test_whatever_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, facts: list[Fact]) -> None:
    layout = layout_in(tmp_path_factory.mktemp("ledger"))
    ledger = Ledger(layout)
    ledger.open()
    for fact in facts:
        ledger.write(fact)
    ledger.close()
    found = read_facts(ledger.path)
    assert found.facts == {fact.key: fact for fact in facts}
    assert found.skipped == 0


def test_two_hundred_real_commits_survive(tmp_path: Path) -> None:
    """The same on a loop whose threads race: every commit that returned is on the disk."""
    layout = layout_in(tmp_path)

    async def check() -> None:
        store = IntentStore(layout, 0.0)

        async def one(n: int) -> None:
            await store.commit({f"s{n}": "up"})
            assert on_disk(layout).goals[f"s{n}"] == "up"

        for _ in range(3):
            await asyncio.gather(*(one(n) for n in range(60)))

    run(check())
