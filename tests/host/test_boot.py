"""Boot: what a new svcmgrd makes of what the last one left."""

from __future__ import annotations

from pathlib import Path

import pytest

from svcmgr.errors import StorageFailed
from svcmgr.host.facts import Fact
from svcmgr.svc import Goal, State
from tests.kit.fakeos import FakeOs, Program
from tests.kit.life import Life, write
from tests.kit.world import advance, virtual


@virtual
async def test_the_first_boot_starts_what_is_enabled(tmp_path: Path) -> None:
    write(tmp_path, "web")
    write(tmp_path, "off", enabled=False)
    async with Life(tmp_path) as life:
        assert life.states("web", "off") == ["running", "down"]
        assert life.store.intent.goals == {"web": "up", "off": "down"}
        assert life.store.intent.boot_id == life.os.boot_id()


@virtual
async def test_an_empty_root_boots(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        assert life.supervisor.services == {}


@virtual
async def test_requirements_are_started_first_even_when_disabled(tmp_path: Path) -> None:
    write(tmp_path, "app", requires=["db"])
    write(tmp_path, "db", ready="up:1")
    write(tmp_path, "zeta")
    write(tmp_path, "beta", after=["zeta"])
    async with Life(tmp_path) as life:
        await advance(2)
        assert life.order("spawned") == ["db", "zeta", "beta", "app"]


@virtual
async def test_a_requirement_that_is_disabled_holds_its_dependent(tmp_path: Path) -> None:
    write(tmp_path, "app", requires=["db"])
    write(tmp_path, "db", enabled=False)
    async with Life(tmp_path) as life:
        assert life.states("app", "db") == ["waiting", "down"]
        await life.command("start", "db")
        assert life.states("app", "db") == ["running", "running"]


@virtual
async def test_the_next_life_adopts_and_nobody_notices(tmp_path: Path) -> None:
    system = FakeOs({"web": Program(children=(Program(),))})
    write(tmp_path, "web", ready="up:1")
    write(tmp_path, "db")
    async with Life(tmp_path, system) as life:
        await advance(10)
        pids = {key: life.pid(key) for key in ("web", "db")}
        spawns = len(system.spawns)
    async with Life(tmp_path, system) as life:
        assert {key: life.pid(key) for key in ("web", "db")} == pids
        assert life.states("web", "db") == ["running", "running"]
        assert len(system.spawns) == spawns
        assert life["web"].uptime() == 10
        assert life["web"].incarnation == 1
        assert life.told("web") == ["adopted"]
        assert await life.command("stop", "web") == {"web": "stopped"}


@virtual
async def test_ten_lives_in_a_row(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    for generation in range(1, 11):
        async with Life(tmp_path, system) as life:
            assert life.ledger.generation == generation
            assert life.supervisor.ring.next_seq // 1_000_000_000 == generation
            assert len(system.spawns) == 1
            await advance(1)


@virtual
async def test_a_death_while_nobody_was_there_is_a_failure(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    write(tmp_path, "once", restart="never")
    async with Life(tmp_path, system) as life:
        dead = [life.pid("web"), life.pid("once")]
    for pid in dead:
        system.exit(pid)
    async with Life(tmp_path, system) as life:
        assert life.states("web", "once") == ["backoff", "failed"]
        assert life["once"].reason == "exited, status unknown"
        await advance(2)
        assert life["web"].state is State.RUNNING
        assert life["web"].incarnation == 2
    async with Life(tmp_path, system) as life:
        assert life.states("web", "once") == ["running", "failed"]


@virtual
async def test_a_number_that_a_stranger_got_is_not_adopted(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    async with Life(tmp_path, system) as life:
        pid = life.pid("web")
    system.exit(pid)
    stranger = system.reuse(pid)
    async with Life(tmp_path, system) as life:
        await advance(2)
        assert life["web"].state is State.RUNNING
        assert life["web"].identity != stranger
        await life.command("stop", "web")
        assert system.signals(pid) == []


@virtual
async def test_a_process_that_was_not_recorded_is_found_by_its_mark(tmp_path: Path) -> None:
    """svcmgrd died between the spawn and the ledger line."""
    system = FakeOs()
    write(tmp_path, "web", ready="up:3")
    async with Life(tmp_path, system) as life:
        life.ledger.facts["web"] = Fact("web", incarnation=4)
        life.ledger.write(life.ledger.facts["web"])
        await life.command("stop", "web")
        found = system.start_elsewhere(life.adoptable("web", incarnation=9))
        await life.store.commit({"web": "up"})
    async with Life(tmp_path, system) as life:
        assert life["web"].identity == found
        assert (life["web"].state, life["web"].incarnation) == (State.STARTING, 9)
        await advance(3)
        assert life["web"].state is State.RUNNING
        assert life.ledger.facts["web"].pid == found.pid


@virtual
async def test_a_left_over_of_an_older_life_is_ended_and_not_taken_for_the_service(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    async with Life(tmp_path, system) as life:
        await life.command("restart", "web")
        await life.command("restart", "web")
        old = system.start_elsewhere(life.adoptable("web", incarnation=2))
        (pid,) = set(life.mains("web")) - {old.pid}
    system.exit(pid)
    async with Life(tmp_path, system) as life:
        assert life["web"].state is not State.RUNNING
        await advance(3)
        assert not system.processes[old.pid].alive
        assert life["web"].state is State.RUNNING
        assert life["web"].incarnation == 4


@virtual
async def test_what_was_running_but_is_wanted_down_is_stopped(tmp_path: Path) -> None:
    system = FakeOs({"web": Program(term_s=1)})
    write(tmp_path, "web")
    async with Life(tmp_path, system) as life:
        await life.store.commit({"web": "down"})
        assert len(system.living()) == 1
    async with Life(tmp_path, system) as life:
        await advance(2)
        assert life["web"].state is State.DOWN
        assert system.living() == []


# --- goals -----------------------------------------------------------------------------------------------


@virtual
async def test_within_one_boot_the_operators_word_holds(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    write(tmp_path, "off", enabled=False)
    async with Life(tmp_path, system) as life:
        await life.command("stop", "web")
        await life.command("start", "off")
    async with Life(tmp_path, system) as life:
        assert life.states("web", "off") == ["down", "running"]


@virtual
async def test_a_new_boot_of_the_host_starts_what_is_enabled(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    write(tmp_path, "off", enabled=False)
    write(tmp_path, "marked", enabled=False)
    async with Life(tmp_path, system) as life:
        await life.command("stop", "web")
        await life.command("start", "off")
        await life.commander.mark(["marked"], enabled=True)
        life.store.intent.boot_id = "another-boot"
        await life.store.commit({"x": "up"}, boot_id="another-boot")
    async with Life(tmp_path, FakeOs()) as life:
        assert life.states("web", "off", "marked") == ["running", "down", "running"]


@virtual
async def test_numbers_of_another_boot_name_nothing(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    async with Life(tmp_path, system) as life:
        fact = life.ledger.facts["web"]
        fact.boot_id = "another-boot"
        life.ledger.write(fact)
        pid = life.pid("web")
        # What the table of processes shows under that number is somebody else's.
        system.processes[pid].marker = system.processes[pid].spec = None
    async with Life(tmp_path, system) as life:
        assert life["web"].identity is not None
        assert life["web"].identity.pid != pid
        assert "exited" not in life.told("web")
        system.exit(pid)


@pytest.mark.parametrize(
    ("program", "table", "state", "reason"),
    [
        (Program(exits_after=1), {}, "down", "exited with code 0"),
        (Program(exits_after=1, code=3), {"restart": "never"}, "failed", "exited with code 3"),
        (Program(fails=2), {}, "failed", "cannot start web: command 'web': ENOENT"),
    ],
)
def test_what_had_come_to_rest_stays_at_rest(
    tmp_path: Path, program: Program, table: dict[str, str], state: str, reason: str
) -> None:
    @virtual
    async def check() -> None:
        system = FakeOs({"web": program})
        write(tmp_path, "web", **table)
        async with Life(tmp_path, system) as life:
            await advance(5)
            assert life.states("web") == [state]
        for _ in range(2):
            async with Life(tmp_path, system) as life:
                await advance(5)
                assert life.states("web") == [state]
                assert life["web"].reason == reason
                assert life["web"].goal is Goal.UP
                assert life.told("web") == []
        async with Life(tmp_path, system) as life:
            system.programs["web"] = Program()
            assert await life.command("start", "web") == {"web": "started"}
        async with Life(tmp_path, system) as life:
            assert life.states("web") == ["running"]

    check()


@virtual
async def test_what_waits_for_what_rests_is_held(tmp_path: Path) -> None:
    system = FakeOs({"db": Program(exits_after=1, code=1)})
    write(tmp_path, "db", restart="never")
    write(tmp_path, "web", requires=["db"], ready="up:2")
    async with Life(tmp_path, system) as life:
        await advance(5)
        await life.command("stop", "web")
        await life.store.commit({"web": "up"})
    async with Life(tmp_path, system) as life:
        await advance(1)
        assert life.states("db", "web") == ["failed", "waiting"]


# --- changed and unusable definitions ----------------------------------------------------------------------


@virtual
async def test_a_definition_that_changed_meanwhile_gives_a_new_process(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    write(tmp_path, "live")
    async with Life(tmp_path, system) as life:
        pids = [life.pid("web"), life.pid("live")]
    write(tmp_path, "web", env={"NEW": "1"})
    write(tmp_path, "live", stop_grace=3.0)
    async with Life(tmp_path, system) as life:
        await advance(1)
        assert life.pid("web") != pids[0]
        assert life.pid("live") == pids[1]
        assert "definition-changed" in life.told("web")
        assert life["live"].spec.stop_grace == 3.0


@virtual
async def test_a_cycle_is_taken_out_and_the_rest_runs(tmp_path: Path) -> None:
    write(tmp_path, "a", requires=["b"])
    write(tmp_path, "b", after=["c"])
    write(tmp_path, "c", requires=["a"])
    write(tmp_path, "self", after=["self"])
    write(tmp_path, "web")
    write(tmp_path, "leans", requires=["a"])
    async with Life(tmp_path) as life:
        assert sorted(life.supervisor.services) == ["leans", "web"]
        assert sorted(life.commander.invalid) == ["a", "b", "c", "self"]
        for name in "abc":
            assert "is a cycle" in life.commander.invalid[name]
        assert life.states("web", "leans") == ["running", "waiting"]
        assert life["leans"].reason == "requires a, which is not defined"


@virtual
async def test_a_definition_that_cannot_be_used_is_told_and_its_process_left(tmp_path: Path) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    write(tmp_path, "db", enabled=False)
    async with Life(tmp_path, system) as life:
        pid = life.pid("web")
    path = write(tmp_path, "web", "command = 7\n")
    async with Life(tmp_path, system) as life:
        assert str(path) in life.commander.invalid["web"]
        assert system.living() == [pid]
        assert f"left-over processes: {pid}" in [f.text for f in life.commander.findings()]
    write(tmp_path, "web")
    async with Life(tmp_path, system) as life:
        assert life.pid("web") == pid
        assert life.states("web") == ["running"]


@virtual
async def test_troubles_of_the_disk_are_told(tmp_path: Path) -> None:
    write(tmp_path, "web")
    async with Life(tmp_path) as life:
        state = life.layout.state
    (state / "intent.json").write_text("{torn")
    with (state / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"key": "we')
    async with Life(tmp_path) as life:
        told = [s.event.line() for s in life.facts if s.event.what == "trouble"]
        assert len(told) == 2
        assert "intent.json is unreadable" in told[0]
        assert "skipped 1 unreadable lines" in told[1]


@virtual
async def test_a_disk_that_takes_no_writes_does_not_keep_services_from_being_adopted(
    tmp_path: Path,
) -> None:
    system = FakeOs()
    write(tmp_path, "web")
    async with Life(tmp_path, system) as life:
        pid = life.pid("web")
    life = Life(tmp_path, system)

    async def refuse(*_: object, **__: object) -> None:
        raise StorageFailed("cannot write intent.json: no space")

    life.store.commit = refuse  # type: ignore[method-assign]
    async with life:
        assert life.pid("web") == pid
        assert life.states("web") == ["running"]
        assert "trouble" in [s.event.what for s in life.facts]
