"""A volume changed: the managers of the services concerned are called, and each one's answer is told.

Nobody else's manager is called, and no process of anybody else is touched. What a service then does is its own affair:
start, stop, nothing, be told, or be replaced (:mod:`svcmgr.svc.configuring`). The steps that need no waiting run on
the supervisor's queue; telling a daemon waits beside it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from svcmgr.errors import SvcmgrError
from svcmgr.svc import events
from svcmgr.svc.change import Change, Verdict
from svcmgr.svc.configuring import Told
from svcmgr.svc.lifecycle import ACTIVE, Goal
from svcmgr.svc.results import Judge, judge_start, judge_stop
from svcmgr.svc.service import Service
from svcmgr.svc.supervisor import Supervisor


@attrs.frozen
class Moved:
    """What became of one service.

    ``action``: none, unchanged, reconfigured, deferred, restarted, started, starting, stopped, stopping or failed.
    """

    key: str
    action: str
    ok: bool = True
    text: str = ""
    code: str = ""


@attrs.define
class _Step:
    """What the queue has done for one service, and what is still to be waited for."""

    moved: Moved | None = None
    change: Change | None = None
    judge: Judge | None = None
    words: tuple[str, str] = ("", "")


async def revolume(supervisor: Supervisor, volumes: Mapping[str, Any], name: str, timeout_s: float) -> list[Moved]:
    """Take over ``volumes``, of which ``name`` changed, and call the managers concerned.

    Args:
        timeout_s: how long to wait for starts and stops, seconds; 0: not at all.
    """
    concerned = [service for service in supervisor.services.values() if service.concerns(name)]

    def turn() -> None:
        supervisor.volumes = volumes

    await _on_queue(supervisor, turn)
    return await _all(supervisor, concerned, timeout_s)


async def refresh(supervisor: Supervisor, keys: Iterable[str]) -> list[Moved]:
    """Bring the daemons of ``keys`` that run to the volfile of now, as at a boot of svcmgrd."""
    found = [service for key in keys if (service := supervisor.services.get(key)) is not None]
    return await _all(supervisor, found, 0.0)


async def _all(supervisor: Supervisor, services: list[Service], timeout_s: float) -> list[Moved]:
    steps = {
        service.key: await _on_queue(supervisor, functools.partial(_step, supervisor, service)) for service in services
    }
    told = await asyncio.gather(*(_tell(supervisor, s, steps[s.key]) for s in services if steps[s.key].change))
    judges = {key: step.judge for key, step in steps.items() if step.judge is not None}
    results = await supervisor.results(judges, timeout_s) if timeout_s > 0 else {}
    moved = {one.key: one for one in told}
    for key, step in steps.items():
        if step.moved is not None:
            moved[key] = step.moved
        elif step.judge is not None:
            result = results.get(key)
            moved[key] = (
                Moved(key, step.words[1], text=step.words[0])
                if result is None
                else Moved(key, result.word, result.ok, result.text or step.words[0], result.code)
            )
    return [moved[service.key] for service in services]


async def _on_queue(supervisor: Supervisor, action: Any) -> Any:
    """The result of ``action``, run on the supervisor's queue."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def act() -> None:
        try:
            result = action()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    supervisor.post(act)
    return await done


def _step(supervisor: Supervisor, service: Service) -> _Step:
    """One service's manager, and what is left to do. On the queue."""
    before = service.lifecycle.wanted or service.state in ACTIVE
    was_down = not service.present and service.state not in ACTIVE
    try:
        supervisor.reconcile(service)
        if service.goal is Goal.DOWN:
            _serve(service)
            return _Step(Moved(service.key, "none", text="it was stopped by its operator"))
        if not service.lifecycle.wanted:
            return _unwanted(service, before=before, was_down=was_down)
        if was_down and service.state in ACTIVE:
            why = functools.partial(supervisor.hopeless, service)
            return _Step(judge=judge_start(service, why), words=("", "starting"))
        return _changed(supervisor, service)
    except SvcmgrError as error:
        supervisor.emit(events.ReconfigureFailed(service.key, error.message))
        return _Step(Moved(service.key, "failed", ok=False, text=error.message, code=error.code))


def _serve(service: Service) -> None:
    if not service.alive:
        service.configuring.serve()


def _unwanted(service: Service, *, before: bool, was_down: bool) -> _Step:
    why = service.why_unwanted(service.volumes)
    if was_down or not before:
        _serve(service)
        return _Step(Moved(service.key, "none", text=why))
    return _Step(judge=judge_stop(service, was_down=False), words=(why, "stopping"))


def _changed(supervisor: Supervisor, service: Service) -> _Step:
    change = service.configuring.plan()
    if change.verdict is Verdict.TELL:
        return _Step(change=change)
    if change.verdict is Verdict.RESTART:
        supervisor.emit(events.Reconfigured(service.key, f"restarting: {change.text}"))
        judge = judge_start(service, functools.partial(supervisor.hopeless, service), "restarted")
        service.rerun(change.text)
        return _Step(judge=judge, words=(change.text, "starting"))
    if not service.alive:
        _serve(service)
        return _Step(Moved(service.key, "none", text=f"it is {service.status.value}: {service.reason}".rstrip(": ")))
    return _Step(Moved(service.key, "unchanged"))


async def _tell(supervisor: Supervisor, service: Service, step: _Step) -> Moved:
    assert step.change is not None
    try:
        told = await service.configuring.tell(step.change)
    except SvcmgrError as error:
        told = Told("failed", error.message, error.code)
    await _on_queue(supervisor, functools.partial(service.note_told, told))
    return Moved(service.key, told.word, told.word != "failed", told.text, told.code)
