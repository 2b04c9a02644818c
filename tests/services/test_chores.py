"""Background workers are counted, and a streak of failures is one line in the log."""

import logging

import pytest

from svcmgr.background import Worker, run_workers
from svcmgr.errors import BadInput
from svcmgr.services.daemonkit.chores import Chores
from tests.kit.vloop import run


def _history(caplog, outcomes):
    """Run one worker whose rounds end as ``outcomes`` say (None or an exception); its facts."""
    script = iter(outcomes)

    async def work():
        outcome = next(script)
        if outcome is not None:
            raise outcome

    chores = Chores([Worker("w", work, lambda: 1.0)], logging.getLogger("testd"))

    async def main():
        await run_workers(chores.workers, chores.report)

    caplog.set_level(logging.INFO, "testd")
    with pytest.raises(TimeoutError):
        run(main(), timeout=len(outcomes) + 0.5)
    return chores.facts["w"]


def test_rounds_and_failures_are_counted(caplog):
    facts = _history(caplog, [None, BadInput("cannot"), BadInput("cannot again"), None, OSError(5, "io")])
    assert (facts.rounds, facts.failures, facts.streak) == (2, 3, 1)
    assert facts.last_error == "io (errno 5)"


def test_a_streak_is_logged_at_its_ends_only(caplog):
    _history(caplog, [BadInput("cannot")] * 50 + [None])
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("error", "traceback"), [(BadInput("cannot"), False), (KeyError("x"), True)])
def test_only_a_bug_has_a_traceback(caplog, error, traceback):
    _history(caplog, [error])
    assert bool(caplog.records[0].exc_info) is traceback


def test_names_are_unique():
    async def work(): ...

    with pytest.raises(BadInput):
        Chores([Worker("w", work, lambda: 1.0)] * 2, logging.getLogger("testd"))
