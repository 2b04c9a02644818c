"""What svcmgrd does when it is told to: intent first, then the supervisor, then the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import AlreadyExists, BadDefinition, BadInput, DependencyCycle, StorageFailed
from svcmgr.host import wire
from svcmgr.host.definitions import load
from svcmgr.svc import Goal, State
from tests.kit.fakeos import FakeOs, Program
from tests.kit.life import Life, write
from tests.kit.world import advance, virtual


def refuse_writes(life: Life) -> None:
    def refuse(data: bytes) -> None:
        raise StorageFailed("cannot write intent.json: No space left on device (errno 28)")

    life.store._write = refuse  # type: ignore[method-assign]


def defined(life: Life, key: str) -> bool:
    return (life.layout.definitions / f"{key}.toml").exists()


def actions(reply: wire.ReloadReply) -> dict[str, str]:
    return {c.name: c.action for c in reply.changes}


# --- start, stop, restart ------------------------------------------------------------------------------------


@virtual
async def test_words_of_start_and_stop(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        assert await life.command("start", "web") == {"web": "started"}
        assert await life.command("start", "web") == {"web": "already-running"}
        assert await life.command("restart", "web") == {"web": "restarted"}
        assert await life.command("stop", "web") == {"web": "stopped"}
        assert await life.command("stop", "web") == {"web": "was-not-running"}
        assert await life.command("restart", "web") == {"web": "restarted"}


@virtual
async def test_intent_is_on_disk_before_anything_is_started(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        seen: list[str] = []
        spawn = life.os.spawn

        def look(spec: Any) -> Any:
            seen.append((life.layout.state / "intent.json").read_text())
            return spawn(spec)

        life.os.spawn = look  # type: ignore[method-assign]
        await life.command("start", "web")
        assert '"web":"up"' in seen[0]


@virtual
async def test_a_disk_that_refuses_ends_the_command_with_everything_untouched(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        await life.add("db")
        await life.command("start", "web")
        pid = life.pid("web")
        refuse_writes(life)
        for verb, key in (("stop", "web"), ("restart", "db"), ("start", "db")):
            with pytest.raises(StorageFailed):
                await life.command(verb, key)
        assert life.mains("web") == [pid]
        assert life.mains("db") == []
        assert (life["web"].goal, life["db"].goal) == (Goal.UP, Goal.DOWN)
        assert life.os.signals(pid) == []
        # What needs no new intent works on a full disk.
        assert await life.command("restart", "web") == {"web": "restarted"}


@virtual
async def test_a_start_takes_along_what_is_required_and_a_stop_what_requires(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("db")
        await life.add("app", requires=["db"])
        await life.add("web", requires=["app"])
        assert await life.command("start", "web") == {"web": "started"}
        assert life.store.intent.goals == {"db": "up", "app": "up", "web": "up"}
        assert await life.command("stop", "db") == {"web": "stopped", "app": "stopped", "db": "stopped"}
        assert set(life.store.intent.goals.values()) == {"down"}
        assert await life.command("stop", "db") == {"db": "was-not-running"}
        assert await life.command("restart", "app") == {"app": "restarted"}
        assert life.states("db", "app", "web") == ["running", "running", "down"]


@virtual
async def test_without_waiting_the_answer_is_what_is_known_now(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web", Program(term_s=2), ready="up:5")
        await life.add("fast")
        assert await life.command("start", "web", "fast", timeout_s=0) == {"web": "starting", "fast": "started"}
        assert life.now == 0
        await advance(6)
        assert await life.command("stop", "web", timeout_s=0) == {"web": "stopping"}
        await advance(3)
        assert life["web"].state is State.DOWN


@virtual
async def test_answers_carry_what_a_person_needs(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("bad", Program(exits_after=1, code=9), ready="up:3", restart="never")
        life.layout.service_log("bad").write_text("cannot open config\n")
        (outcome,) = await life.commander.start(["bad"], 60.0)
        assert outcome == wire.Outcome(
            "bad", "failed", ok=False, text="exited with code 9", code="start-failed", log_tail="cannot open config\n"
        )
        await life.add("good")
        (outcome,) = await life.commander.start(["good"], 60.0)
        assert outcome == wire.Outcome("good", "started", pid=life.pid("good"))


@virtual
async def test_an_unkillable_service_is_refused_with_its_code(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("disk", Program(unkillable=True), stop_grace=1)
        await life.add("web")
        await life.command("start", "disk")
        (outcome,) = await life.commander.stop(["disk"], 60.0)
        assert (outcome.result, outcome.code) == ("failed", "stop-failed")
        outcomes = await life.commander.start(["disk", "web"], 60.0)
        assert [(o.name, o.result, o.code) for o in outcomes] == [
            ("disk", "failed", "stop-failed"),
            ("web", "started", ""),
        ]


@virtual
async def test_a_client_that_hangs_up_does_not_stop_the_start(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web", ready="up:5")
        starting = asyncio.create_task(life.command("start", "web"))
        await advance(2)
        starting.cancel()
        await advance(4)
        assert life["web"].state is State.RUNNING


@virtual
async def test_enable_and_disable_are_remembered_and_start_nothing(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        outcomes = await life.commander.mark(["web"], enabled=False)
        assert outcomes == [wire.Outcome("web", "disabled")]
        assert not life.commander.enabled(life["web"])
        version = life["web"].version
        await life.commander.mark(["web"], enabled=True)
        assert life.commander.enabled(life["web"])
        assert life["web"].state is State.DOWN
        assert life["web"].version >= version


# --- add -------------------------------------------------------------------------------------------------------


@virtual
async def test_add_stores_the_definition_and_starts_when_asked(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        assert (await life.add("web")).result == "added"
        assert load(life.layout.definitions / "web.toml", life.commander.registry) == life["web"].spec
        assert life["web"].state is State.DOWN
        request = wire.AddRequest("db", {"command": ["db"], "ready": "none"}, start=True)
        assert await life.commander.add(request, 60.0) == [wire.Outcome("db", "started", pid=life.pid("db"))]


@virtual
async def test_add_refuses_what_is_there_unless_told_to_replace(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        request = wire.AddRequest("web", {"command": ["web"], "stop_grace": 3})
        with pytest.raises(AlreadyExists):
            await life.commander.add(request, 60.0)
        assert life["web"].spec.stop_grace == 10.0
        replace = wire.AddRequest("web", {"command": ["web"], "stop_grace": 3}, replace=True)
        assert (await life.commander.add(replace, 60.0))[0].result == "replaced"
        assert life["web"].spec.stop_grace == 3
        assert (await life.commander.add(replace, 60.0))[0].result == "unchanged"


@virtual
async def test_of_parallel_adds_of_one_name_one_wins(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        adds = (life.add("web", command=["one"]), life.add("web", command=["two"]))
        results = await asyncio.gather(*adds, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["AlreadyExists", "Outcome"]
        assert load(life.layout.definitions / "web.toml", life.commander.registry).command == ("one",)
        assert life["web"].spec.command == ("one",)


@virtual
async def test_what_cannot_be_forgotten_is_not_removed(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        refuse_writes(life)
        (outcome,) = await life.commander.remove(["web"], stop=False, timeout_s=1)
        assert (outcome.ok, outcome.code) == (False, "storage-failed")
        assert defined(life, "web")
        assert life["web"].state is State.DOWN


@virtual
async def test_replacing_a_running_service_restarts_it_only_where_that_is_needed(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        await life.command("start", "web")
        pid = life.pid("web")
        table = {"command": ["web"], "ready": "none"}
        live = wire.AddRequest("web", {**table, "stop_grace": 3}, replace=True, start=True)
        assert (await life.commander.add(live, 60.0))[0].result == "already-running"
        assert life.pid("web") == pid
        deep = wire.AddRequest("web", {**table, "env": {"A": "1"}}, replace=True, start=True)
        assert (await life.commander.add(deep, 60.0))[0].result == "restarted"
        assert life.pid("web") != pid


@pytest.mark.parametrize(
    ("name", "table", "error"),
    [
        ("web", {"command": "x"}, BadDefinition),
        ("web", {"command": []}, BadDefinition),
        ("web", {"command": ["x"], "nice": 50}, BadDefinition),
        ("web", {"command": ["x"], "kind": "nosuch"}, BadDefinition),
        ("web", {"command": ["x"], "requires": ["web"]}, DependencyCycle),
        ("../web", {"command": ["x"]}, BadInput),
        ("", {"command": ["x"]}, BadInput),
    ],
)
def test_a_refused_add_leaves_nothing(tmp_path: Path, name: str, table: dict[str, Any], error: type[Exception]) -> None:
    @virtual
    async def check() -> None:
        async with Life(tmp_path) as life:
            with pytest.raises(error):
                await life.commander.add(wire.AddRequest(name, table), 60.0)
            assert list(life.layout.definitions.iterdir()) == []
            assert life.supervisor.services == {}
            assert life.supervisor.graph.links == {}

    check()


@virtual
async def test_an_add_that_cannot_be_stored_owns_nothing(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        life.layout.definitions.rmdir()
        life.layout.definitions.write_text("in the way")
        with pytest.raises(StorageFailed):
            await life.add("web")
        assert life.supervisor.services == {}
        assert life.supervisor.graph.links == {}


@virtual
async def test_an_add_that_would_close_a_cycle_leaves_the_old_definition(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("a")
        await life.add("b", requires=["a"])
        request = wire.AddRequest("a", {"command": ["a"], "requires": ["b"]}, replace=True)
        with pytest.raises(DependencyCycle):
            await life.commander.add(request, 60.0)
        assert life["a"].spec.links.requires == ()
        assert (await life.add("c")).result == "added"


@virtual
async def test_the_kind_of_what_runs_cannot_be_changed(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        await life.command("start", "web")
        request = wire.AddRequest("web", {"kind": "daemon", "command": ["web"]}, replace=True)
        with pytest.raises(BadDefinition, match="while it runs"):
            await life.commander.add(request, 60.0)
        await life.command("stop", "web")
        assert (await life.commander.add(request, 60.0))[0].result == "replaced"
        assert life["web"].kind == "daemon"


@virtual
async def test_add_mends_a_definition_that_could_not_be_loaded(tmp_path: Path) -> None:
    write(tmp_path, "web", "nonsense")
    async with Life(tmp_path) as life:
        assert "web" in life.commander.invalid
        with pytest.raises(AlreadyExists):
            await life.add("web")
        request = wire.AddRequest("web", {"command": ["web"]}, replace=True)
        await life.commander.add(request, 60.0)
        assert life.commander.invalid == {}


# --- remove ----------------------------------------------------------------------------------------------------


@virtual
async def test_remove_forgets_everything(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        await life.commander.mark(["web"], enabled=False)
        await life.command("start", "web")
        (busy,) = await life.commander.remove(["web"], stop=False, timeout_s=60.0)
        assert (busy.result, busy.code) == ("failed", "busy")
        assert defined(life, "web")
        (done,) = await life.commander.remove(["web"], stop=True, timeout_s=60.0)
        assert done.result == "removed"
        assert not defined(life, "web")
        assert life.supervisor.services == {}
        assert (life.store.intent.goals, life.store.intent.enabled) == ({}, {})
        assert "web" not in life.ledger.facts
        assert life.os.living() == []


@virtual
async def test_remove_takes_its_dependents_down_and_leaves_them_defined(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("db")
        await life.add("web", requires=["db"])
        await life.command("start", "web")
        outcomes = await life.commander.remove(["db"], stop=True, timeout_s=60.0)
        assert {o.name: o.result for o in outcomes} == {"web": "stopped", "db": "removed"}
        assert defined(life, "web")


@virtual
async def test_remove_of_what_does_not_stop_is_refused(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("disk", Program(unkillable=True), stop_grace=1)
        await life.command("start", "disk")
        (outcome,) = await life.commander.remove(["disk"], stop=True, timeout_s=60.0)
        assert outcome.code == "stop-failed"
        assert defined(life, "disk")


@virtual
async def test_remove_of_an_invalid_definition_deletes_the_file(tmp_path: Path) -> None:
    write(tmp_path, "web", "nonsense")
    async with Life(tmp_path) as life:
        (outcome,) = await life.commander.remove(["web"], stop=False, timeout_s=60.0)
        assert outcome.result == "removed"
        assert not defined(life, "web")
        assert life.commander.invalid == {}


# --- reread ----------------------------------------------------------------------------------------------------


@virtual
async def test_reread_touches_what_changed_alone(tmp_path: Path) -> None:
    system = FakeOs()
    for key in ("same", "live", "deep", "gone"):
        write(tmp_path, key)
    async with Life(tmp_path, system) as life:
        pids = {key: life.pid(key) for key in ("same", "live", "deep")}
        write(tmp_path, "live", stop_grace=3)
        write(tmp_path, "deep", env={"A": "1"})
        write(tmp_path, "new")
        write(tmp_path, "off", enabled=False)
        (life.layout.definitions / "gone.toml").unlink()
        expected = {"live": "live", "deep": "restart", "new": "add", "off": "add", "gone": "remove"}
        assert {c.name: c.action for c in (await life.commander.plan()).changes} == expected
        assert life.states("gone") == ["running"]
        reply = await life.commander.reread()
        assert actions(reply) == expected
        assert {o.name: o.result for o in reply.outcomes} == {"gone": "removed", "new": "started", "deep": "restarted"}
        assert (life.pid("same"), life.pid("live")) == (pids["same"], pids["live"])
        assert life.pid("deep") != pids["deep"]
        assert life.states("new", "off") == ["running", "down"]
        assert "gone" not in life.supervisor.services
        assert (await life.commander.reread()).changes == []


@virtual
async def test_a_definition_that_became_invalid_keeps_the_service_it_had(tmp_path: Path) -> None:
    write(tmp_path, "web")
    async with Life(tmp_path) as life:
        pid = life.pid("web")
        write(tmp_path, "web", "command = 5")
        reply = await life.commander.reread()
        assert actions(reply) == {"web": "invalid"}
        assert "Expected `array`" in reply.changes[0].text
        assert life.pid("web") == pid
        assert "web" in life.commander.invalid
        write(tmp_path, "web")
        await life.commander.reread()
        assert life.commander.invalid == {}


@virtual
async def test_requirements_that_change_places_are_no_cycle(tmp_path: Path) -> None:
    """Each definition alone would close a cycle with the old one of the other; together they do not."""
    write(tmp_path, "a")
    write(tmp_path, "b", requires=["a"])
    async with Life(tmp_path) as life:
        write(tmp_path, "a", requires=["b"])
        write(tmp_path, "b")
        reply = await life.commander.reread()
        assert actions(reply) == {"a": "live", "b": "live"}
        assert all(o.ok for o in reply.outcomes)
        assert life.supervisor.graph.before("a") == ("b",)
        assert life.commander.invalid == {}


@virtual
async def test_a_cycle_in_new_definitions_is_told_and_the_old_ones_stay(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", requires=["a"])
    write(tmp_path, "web")
    async with Life(tmp_path) as life:
        write(tmp_path, "a", requires=["b"])
        write(tmp_path, "web", stop_grace=3)
        reply = await life.commander.reread()
        assert actions(reply)["a"] == "invalid"
        assert actions(reply)["web"] == "live"
        assert "is a cycle" in life.commander.invalid["a"]
        assert life["a"].spec.links.requires == ()
        assert life["web"].spec.stop_grace == 3
        assert life.states("a", "b", "web") == ["running"] * 3
        assert (await life.add("later")).result == "added"


@virtual
async def test_a_cycle_of_new_services_is_told_and_owned_by_nobody(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        write(tmp_path, "x", requires=["y"])
        write(tmp_path, "y", requires=["x"])
        write(tmp_path, "z")
        reply = await life.commander.reread()
        assert actions(reply) == {"x": "invalid", "y": "invalid", "z": "add"}
        assert list(life.supervisor.services) == ["z"]


# --- the end ---------------------------------------------------------------------------------------------------


@virtual
async def test_shutdown_leaves_the_services_and_says_which(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web")
        await life.add("off")
        await life.command("start", "web")
        reply = await life.commander.shutdown(stop_all=False, timeout_s=60.0)
        assert reply == wire.ShutdownReply([], {"web": life.pid("web")})
        assert life.ended


@virtual
async def test_shutdown_of_all_stops_dependents_first_and_keeps_the_goals(tmp_path: Path) -> None:
    system = FakeOs()
    async with Life(tmp_path, system) as life:
        await life.add("app", Program(term_s=1), requires=["db"])
        await life.add("db", Program(term_s=1))
        await life.add("web", Program(term_s=1), requires=["app"])
        await life.add("waits", requires=["nobody"])
        await life.command("start", "web")
        await life.command("start", "waits")
        reply = await life.commander.shutdown(stop_all=True, timeout_s=60.0)
        assert life.order("stopping") == ["web", "app", "db"]
        assert {o.name: o.result for o in reply.stopped} == {
            "web": "stopped",
            "app": "stopped",
            "db": "stopped",
            "waits": "was-not-running",
        }
        assert reply.stays == {}
        assert life.store.intent.goals["web"] == "up"
    async with Life(tmp_path, system) as life:
        await advance(1)
        assert life.states("db", "app", "web") == ["running"] * 3


@virtual
async def test_findings_of_a_root(tmp_path: Path) -> None:
    write(tmp_path, "broken", "nonsense")
    async with Life(tmp_path) as life:
        await life.add("web")
        await life.add("bad", Program(exits_after=1, code=1), restart="never")
        await life.add("waits", requires=["nobody"])
        await life.command("start", "web")
        await life.commander.start(["bad", "waits"], 0.0)
        await advance(2)
        found = {f.subject: (f.level, f.text) for f in life.commander.findings()}
        assert found["broken"][0] == "error"
        assert found["bad"] == ("error", "failed: exited with code 1")
        assert found["waits"] == ("warning", "waiting: requires nobody, which is not defined")
        assert "web" not in found
