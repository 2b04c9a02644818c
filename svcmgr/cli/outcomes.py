"""What became of each service: lines, JSON and the exit code of an action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from svcmgr import errors
from svcmgr.cli import render
from svcmgr.errors import EXIT_FAILED, EXIT_OK, EXIT_TIMEOUT
from svcmgr.host.wire import Outcome


def as_object(outcome: Outcome) -> dict[str, Any]:
    """One outcome, all keys present."""
    return {
        "name": outcome.name,
        "result": outcome.result,
        "ok": outcome.ok,
        "pid": outcome.pid,
        "text": outcome.text,
        "code": outcome.code,
        "log_tail": outcome.log_tail,
    }


def line(outcome: Outcome) -> str:
    """``web: started (pid 12)``, with the sentence for people where it says more."""
    words = outcome.result.replace("-", " ")
    if outcome.pid is not None:
        words += f" (pid {outcome.pid})"
    if outcome.text:
        words += f": {outcome.text}"
    return render.clean(f"{outcome.name}: {words}")


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when all is well; else the one code of all that went wrong, or 1 when they differ."""
    codes = {_code(outcome) for outcome in outcomes if not outcome.ok}
    if not codes:
        return EXIT_OK
    return codes.pop() if len(codes) == 1 else EXIT_FAILED


def _code(outcome: Outcome) -> int:
    if outcome.result == "timeout":
        return EXIT_TIMEOUT
    return errors.from_wire(outcome.code, outcome.text).exit_code if outcome.code else EXIT_FAILED


def report(outcomes: Sequence[Outcome]) -> None:
    """What went well on standard output; what did not, with the log tail, on standard error."""
    for outcome in outcomes:
        if outcome.ok:
            render.out(line(outcome))
    render.flush()
    for outcome in outcomes:
        if not outcome.ok:
            render.err(line(outcome), *render.indented(outcome.log_tail))


def finish(outcomes: Sequence[Outcome], as_json: bool) -> int:
    """Print ``outcomes`` in the shape asked for and return the exit code."""
    if as_json:
        render.write(render.json_document({"outcomes": [as_object(outcome) for outcome in outcomes]}))
    else:
        report(outcomes)
    return exit_code(outcomes)
