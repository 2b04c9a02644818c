"""Random histories of a whole supervisor: whatever happens in whatever order, some things always hold."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svcmgr.svc import Goal, State
from svcmgr.svc.lifecycle import ACTIVE
from tests.kit.fakeos import Program
from tests.kit.vloop import run, turns
from tests.kit.world import World, advance

KEYS = ["db", "app", "web", "log"]
PROGRAMS = [
    Program(),
    Program(term_s=2),
    Program(term_s=None),
    Program(exits_after=1, code=1),
    Program(exits_after=3),
    Program(fails=2),
    Program(children=(Program(term_s=1), Program(own_session=True, term_s=None))),
]
STEPS = st.one_of(
    st.tuples(st.sampled_from(["start", "stop", "restart"]), st.sets(st.sampled_from(KEYS), min_size=1, max_size=3)),
    st.tuples(st.just("crash"), st.sampled_from(KEYS)),
    st.tuples(st.just("exit"), st.sampled_from(KEYS)),
    st.tuples(st.just("becomes"), st.tuples(st.sampled_from(KEYS), st.sampled_from(PROGRAMS))),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, 7.0, 30.0])),
)


def check(world: World) -> None:
    for key in KEYS:
        service = world[key]
        assert len(world.mains(key)) <= 1
        assert service.alive <= (service.state in ACTIVE)
        if world.mains(key):
            assert service.state in ACTIVE
            assert service.identity is not None
            assert world.pid(key) == service.identity.pid
        if service.state is State.RUNNING and service.goal is Goal.DOWN:
            # Only a dependent that still runs can keep it running.
            followers = [world[k] for k in world.supervisor.graph.followers(key)]
            assert any(f.goal is Goal.DOWN and f.state in ACTIVE for f in followers)
        if service.state is State.WAITING:
            assert world.supervisor.held(service)[0], f"{key} waits for nothing"


async def play(place: Path, policy: str, steps: list[tuple[str, object]]) -> None:
    async with World(place) as world:
        world.define("db", restart=policy, ready="up:1")
        world.define("log")
        world.define("app", restart=policy, requires=["db"], ready="up:0.5", start_timeout=3.0)
        world.define("web", requires=["app"], after=["log"], stop_grace=2.0)
        async with asyncio.TaskGroup() as group:
            for what, value in steps:
                if what in ("start", "stop", "restart"):
                    group.create_task(getattr(world, what)(*sorted(value)))  # type: ignore[call-overload]
                elif what == "advance":
                    await advance(value)  # type: ignore[arg-type]
                elif what == "becomes":
                    world.becomes(*value)  # type: ignore[misc]
                elif world.mains(str(value)):
                    (world.os.crash if what == "crash" else world.os.exit)(world.pid(str(value)))
                await turns(5)
                check(world)
        for key in KEYS:
            world.becomes(key, Program())
        await world.stop(*KEYS)
        assert world.states(*KEYS) == ["down"] * 4
        assert world.os.living() == []
        assert world.os.pidfiles == {}
        # Whatever it has been through, everything can be started again.
        results = await world.start("web", "log")
        assert {r.word for r in results.values()} == {"started"}
        await world.stop(*KEYS)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy=st.sampled_from(["always", "on-failure", "never"]), steps=st.lists(STEPS, max_size=25))
def test_random_histories(policy: str, steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        run(play(Path(place), policy, steps))
