"""What is kept of a service: ledger facts, rows of status, the plan of a reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from svcmgr.host import wire
from svcmgr.host.facts import Fact, Facts, read_facts
from svcmgr.host.recorder import recorded_identity, remember, settled_state
from svcmgr.host.reread import make_plan, without_cycles
from svcmgr.host.rows import RowCache, row, show
from svcmgr.proc import ExitStatus, Identity
from svcmgr.svc import Service, ServiceSpec, State
from tests.kit.fakeos import FakeOs, Program
from tests.kit.life import Life
from tests.kit.vloop import START, UTC_AT_START
from tests.kit.world import World, advance, make_spec, virtual


def on_disk(life: Life, key: str) -> Fact:
    return read_facts(life.ledger.path).facts[key]


# --- recorder ------------------------------------------------------------------------------------------------


@virtual
async def test_a_life_in_facts(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web", Program(exits_after=9, code=4), ready="up:2")
        await life.commander.start(["web"], 0)
        identity = life["web"].identity
        assert identity is not None
        fact = on_disk(life, "web")
        assert recorded_identity(fact) == identity
        assert (fact.kind, fact.incarnation, fact.ready) == ("command", 1, False)
        assert (fact.digest, fact.mono, fact.at) == (life["web"].spec.digest, START, UTC_AT_START)
        await advance(3)
        assert on_disk(life, "web").ready
        life.layout.service_log("web").write_text("last words\n")
        await advance(6.5)
        fact = on_disk(life, "web")
        assert recorded_identity(fact) is None
        assert (fact.ready, fact.exit_code, fact.exit_signal, fact.exit_uptime) == (False, 4, None, 9.0)
        assert fact.exit_tail == "last words\n"
        assert fact.settled == ""
        await advance(1)
        assert (on_disk(life, "web").incarnation, on_disk(life, "web").restarts) == (2, 1)


@virtual
async def test_facts_of_signals_and_of_rest(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web", restart="never")
        await life.command("start", "web")
        life.os.crash(life.pid("web"), 11, core=True)
        await advance(1)
        fact = on_disk(life, "web")
        assert (fact.exit_code, fact.exit_signal, fact.exit_core) == (None, 11, True)
        assert settled_state(fact) is State.FAILED
        assert fact.reason == "killed by SIGSEGV (core dumped)"
        life.commander.recorder.unsettle("web")
        assert settled_state(on_disk(life, "web")) is None
        life.commander.recorder.unsettle("never-heard-of")
        await life.command("start", "web")
        await life.command("stop", "web")
        assert settled_state(on_disk(life, "web")) is None  # it was stopped; that is the goal's affair


@virtual
async def test_a_new_main_process_is_recorded(tmp_path: Path) -> None:
    async with Life(tmp_path) as life:
        await life.add("web", Program(children=(Program(),)), ready="notify")
        await life.commander.start(["web"], 0)
        first = life.pid("web")
        (child,) = [p.pid for p in life.os.processes.values() if p.ppid == first]
        life["web"].main_moved(child)
        await advance(1)
        fact = on_disk(life, "web")
        assert (fact.pid, fact.incarnation, fact.mono) == (child, 1, START)


@virtual
async def test_the_memory_of_a_service_outlives_svcmgrd(tmp_path: Path) -> None:
    system = FakeOs()
    async with Life(tmp_path, system) as life:
        await life.add("web", Program(exits_after=1, code=7))
        life.layout.service_log("web").write_text("why\n")
        await life.command("start", "web")
        await advance(2.5)
        last, restarts = life["web"].last_exit, life["web"].restarts
        assert restarts == 1
    system.programs["web"] = Program()
    async with Life(tmp_path, system) as life:
        assert life["web"].last_exit == last
        assert life["web"].restarts == restarts
        assert life["web"].incarnation == 2


@virtual
async def test_remembering_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        remember(service, Fact("web"))
        assert (service.incarnation, service.restarts, service.last_exit) == (0, 0, None)
        remember(service, Fact("web", exit_at=5.0, exit_signal=9, exit_uptime=2.0, exit_tail="t"))
        assert service.last_exit is not None
        assert service.last_exit.status == ExitStatus(signal=9)
    assert recorded_identity(Fact("web")) is None
    assert recorded_identity(Fact("web", pid=5, ticks=6, boot_id="b")) == Identity(5, 6, "b")
    assert [settled_state(Fact("web", settled=s)) for s in ("", "down", "failed", "odd")] == [
        None,
        State.DOWN,
        State.FAILED,
        None,
    ]


def test_no_ledger_is_no_facts(tmp_path: Path) -> None:
    assert read_facts(tmp_path / "absent") == Facts({})


def test_a_fact_of_a_first_start_is_a_short_line() -> None:
    """One line is written at each start; defaults are left out."""
    assert len(msgspec.json.encode(Fact("web", "command", 1, 1000, 5000, at=1.0, mono=2.0))) < 120


# --- rows ------------------------------------------------------------------------------------------------------


def decoded(rows: list[Any]) -> list[wire.ServiceRow]:
    return [msgspec.msgpack.decode(raw, type=wire.ServiceRow) for raw in rows]


@virtual
async def test_rows_are_made_once_for_each_change(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        made: list[str] = []

        def enabled(service: Service) -> bool:
            made.append(service.key)
            return True

        world.define("web")
        world.define("db")
        cache = RowCache(world.supervisor.services, enabled)
        first = cache.rows(["db", "web"], paths=False)
        assert [r.name for r in decoded(first)] == ["db", "web"]
        assert made == ["db", "web"]
        again = cache.rows(["web", "db"], paths=False)
        assert [a is b for a, b in zip(again[::-1], first, strict=True)] == [True, True]
        await world.start("web")
        (web,) = decoded(cache.rows(["web"], paths=False))
        assert (web.state, web.status, web.pid, web.goal) == ("running", "online", world.pid("web"), "up")
        cache.rows(["db"], paths=False)
        assert made == ["db", "web", "web"]
        (web,) = decoded(cache.rows(["web"], paths=True))
        assert web.pidfile == str(world.layout.service_pidfile("web"))
        assert web.log == str(world.layout.service_log("web"))


@virtual
async def test_rows_of_what_is_not_there_are_left_out_and_forgotten(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        cache = RowCache(world.supervisor.services, lambda _: True)
        for n in range(100):
            world.define(f"s{n}")
            assert len(cache.rows([f"s{n}", "ghost"], paths=False)) == 1
            world.supervisor.remove(f"s{n}")
        world.define("last")
        cache.rows(["last"], paths=False)
        assert len(cache._rows) <= 10


@virtual
async def test_a_service_that_was_removed_and_added_again_has_its_own_row(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        cache = RowCache(world.supervisor.services, lambda _: True)
        world.define("web")
        cache.rows(["web"], paths=False)
        world.supervisor.remove("web")
        world.define("web@2")
        world.supervisor.services["web"] = world["web@2"]
        (found,) = decoded(cache.rows(["web"], paths=False))
        assert found.instance == "2"


@virtual
async def test_a_row_of_a_crash(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", Program(exits_after=2, code=3))
        await world.start("web")
        await advance(2.5)
        found = row(service, enabled=False, paths=False)
        assert (found.state, found.status, found.pid, found.started) == ("backoff", "backoff", None, None)
        assert found.last_exit == wire.Exit(UTC_AT_START + 2, code=3, uptime_s=2.0)
        assert found.reason.startswith("exited with code 3; next start in")
        assert (found.socket, found.log) == (None, None)


@virtual
async def test_secrets_are_for_administrators(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        env = {"API_TOKEN": "t", "db_password": "p", "AWS_SECRET_ID": "s", "KEYRING": "k", "MODE": "fast"}
        service = world.define("web", env=env)
        shown = show(service, world.supervisor, enabled=True, secrets=False)["env"]
        assert {k for k, v in shown.items() if v == "***"} == set(env) - {"MODE"}
        assert shown["MODE"] == "fast"
        assert show(service, world.supervisor, enabled=True, secrets=True)["env"] == env


@virtual
async def test_show_says_every_field_of_a_definition(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", after=["log"])
        world.define("shop", requires=["web"])
        shown = show(service, world.supervisor, enabled=True, secrets=True)
        fields = {a.name for a in attrs.fields(ServiceSpec)}
        elsewhere = {"key", "backoff", "links", "source"}
        assert fields - elsewhere - {"env_clean"} <= set(shown)
        assert (shown["required_by"], shown["after"]) == (["shop"], ["log"])
        assert msgspec.json.encode(shown)


# --- the plan of a reload ----------------------------------------------------------------------------------------


@virtual
async def test_a_plan_of_every_kind_of_change(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for key in ("same", "live", "deep", "idle", "gone", "broken"):
            world.define(key)
        await world.start("same", "live", "deep")
        services = world.supervisor.services
        specs = {key: make_spec(key) for key in ("same", "new")}
        specs["live"] = make_spec("live", stop_grace=3.0, ready="up:1", restart="always")
        specs["deep"] = make_spec("deep", env={"A": "1"}, requires=["same"])
        specs["idle"] = make_spec("idle", command=("else",))
        plan = make_plan(services, specs, {"broken": "cannot use it"})
        assert {c.name: c.action for c in plan.changes} == {
            "broken": "invalid",
            "deep": "restart",
            "gone": "remove",
            "idle": "live",  # it is down: the next start takes the new command
            "live": "live",
            "new": "add",
        }
        assert (plan.added, plan.removed, plan.restarted) == (["new"], ["gone"], ["deep"])
        assert set(plan.specs) == {"deep", "idle", "live", "new"}
        fields = {c.name: c.fields for c in plan.changes}
        assert fields["live"] == {
            "ready": ["none", "up:1"],
            "restart": ["on-failure", "always"],
            "stop_grace": [10.0, 3.0],
        }
        assert fields["deep"]["env"] == [{}, {"A": "1"}]
        assert fields["deep"]["links"] == [{"requires": (), "after": ()}, {"requires": ("same",), "after": ()}]
        for change in plan.changes:
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(change), type=wire.Change)


@virtual
async def test_a_plan_of_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        plan = make_plan(world.supervisor.services, {"web": make_spec("web")}, {})
        assert (plan.changes, plan.specs) == ([], {})


@pytest.mark.parametrize(
    ("owned", "links", "bad"),
    [
        ({}, {"a": "", "b": "a"}, set()),
        ({}, {"a": "b", "b": "a", "c": "a"}, {"a", "b"}),
        ({}, {"a": "a", "b": "c", "c": "b", "d": ""}, {"a", "b", "c"}),
        ({"a": "", "b": "a"}, {"a": "b", "b": "a"}, {"a"}),
        ({"a": "", "b": "a"}, {"a": "b", "b": ""}, set()),
        ({"a": "", "b": "a", "c": ""}, {"a": "c", "b": "a", "c": "b"}, {"a", "c"}),
        ({"a": "b", "b": ""}, {"b": "a"}, set()),
    ],
)
def test_what_closes_a_cycle_is_taken_out(
    tmp_path: Path, owned: dict[str, str], links: dict[str, str], bad: set[str]
) -> None:
    @virtual
    async def check() -> None:
        async with World(tmp_path) as world:
            for key, other in owned.items():
                world.define(key, requires=other.split())
            specs = {key: make_spec(key, requires=other.split()) for key, other in links.items()}
            left, invalid = without_cycles(world.supervisor.services, specs, {})
            assert set(invalid) == bad
            assert set(left) == set(links) - bad
            assert all("is a cycle" in text for text in invalid.values())

    check()
