"""Background workers as daemonkit runs them: counted, and logged once per streak of failures."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import attrs

from svcmgr.background import Worker
from svcmgr.errors import BadInput, SvcmgrError
from svcmgr.services.daemonkit.exits import one_line


@attrs.define
class ChoreFacts:
    """Of one worker: rounds that ended well, rounds that failed, failures since the last good round."""

    rounds: int = 0
    failures: int = 0
    streak: int = 0
    last_error: str = ""


class Chores:
    """The workers of one daemon with what is known about each."""

    def __init__(self, workers: Iterable[Worker], log: logging.Logger) -> None:
        self._log = log
        self.facts: dict[str, ChoreFacts] = {}
        self.workers = [self._counted(worker) for worker in workers]

    def _counted(self, worker: Worker) -> Worker:
        if worker.name in self.facts:
            raise BadInput(f"cannot have two background workers named {worker.name!r}")
        facts = self.facts[worker.name] = ChoreFacts()

        async def run() -> None:
            await worker.run()
            facts.rounds += 1
            if facts.streak:
                self._log.info("worker %s works again after %d failures", worker.name, facts.streak)
                facts.streak = 0

        return Worker(worker.name, run, worker.interval)

    def report(self, name: str, error: Exception) -> None:
        """Take note of a failed round. A failure that is no plain refusal is logged with its traceback."""
        facts = self.facts[name]
        facts.failures += 1
        facts.streak += 1
        facts.last_error = one_line(error)
        level = logging.ERROR if facts.streak == 1 else logging.DEBUG
        expected = isinstance(error, SvcmgrError | OSError)
        self._log.log(level, "worker %s failed: %s", name, facts.last_error, exc_info=None if expected else error)
