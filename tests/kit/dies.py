"""svcmgrd that is killed at a chosen moment, once: the moment is patched in from outside, svcmgrd knows nothing of it.

    python -m tests.kit.dies MOMENT SERVICE ARGUMENTS OF SVCMGRD

Moments are about the one service named: ``before-intent`` (a change of its goal is about to be written),
``before-spawn`` (the intent is written, nothing is started), ``after-spawn`` (it runs, nothing is recorded),
``torn-record`` (half of that record is written), ``before-signal`` (the intent to stop is written, no signal is sent),
``before-exit-record`` (it has ended, nothing is recorded).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from svcmgr.host.__main__ import main
from svcmgr.host.store import IntentStore, Ledger
from svcmgr.proc import Process


def die(*_: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def patch(owner: type, name: str, replace: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    setattr(owner, name, replace(getattr(owner, name)))


def before_intent(service: str) -> None:
    def replace(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(store: IntentStore, data: bytes) -> None:
            new = msgspec.json.decode(data)["goals"].get(service)
            if store.path.exists() and new != store.intent.goals.get(service):
                die()
            write(store, data)

        return wrapped

    patch(IntentStore, "_write", replace)


def around(name: str, service: str, *, after: bool = False) -> None:
    def replace(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(process: Process, *args: Any, **kwargs: Any) -> Any:
            result = method(process, *args, **kwargs) if after else None
            if process.name == service:
                die()
            return result if after else method(process, *args, **kwargs)

        return wrapped

    patch(Process, name, replace)


def at_record(service: str, *, torn: bool, running: bool) -> None:
    def replace(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(ledger: Ledger, fact: Any) -> None:
            if fact.key == service and bool(fact.pid) is running and (running or fact.exit_at):
                if torn:
                    line = msgspec.json.encode(fact)
                    os.write(ledger._fd, line[: len(line) // 2])
                die()
            write(ledger, fact)

        return wrapped

    patch(Ledger, "write", replace)


MOMENTS: dict[str, Callable[[str], None]] = {
    "before-intent": before_intent,
    "before-spawn": lambda service: around("spawn", service),
    "after-spawn": lambda service: around("spawn", service, after=True),
    "torn-record": lambda service: at_record(service, torn=True, running=True),
    "before-signal": lambda service: around("stop", service),
    "before-exit-record": lambda service: at_record(service, torn=False, running=False),
}

if __name__ == "__main__":
    MOMENTS[sys.argv[1]](sys.argv[2])
    sys.exit(main(sys.argv[3:]))
