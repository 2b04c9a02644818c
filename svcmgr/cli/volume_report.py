"""Volumes, and what a change did to them and to their services: as JSON, as lines, as an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from svcmgr.cli import outcomes, render
from svcmgr.cli.volume_rows import as_object
from svcmgr.host.wire import Outcome
from svcmgr.host.wire_volumes import ServiceOutcome, VolumeReply


def document(reply: VolumeReply) -> dict[str, Any]:
    """A change as docs/cli.md describes it, all keys present."""
    return {
        "volume": as_object(reply.volume),
        "changed": {name: {"old": old, "new": new} for name, (old, new) in reply.changed.items()},
        "outcomes": [
            {"name": one.name, "action": one.action, "ok": one.ok, "text": one.text, "code": one.code}
            for one in reply.outcomes
        ],
    }


def changes(reply: VolumeReply) -> str:
    """``features.uss off -> on``, every changed option."""
    return ", ".join(f"{name} {_shown(old)} -> {_shown(new)}" for name, (old, new) in reply.changed.items())


def _shown(value: str) -> str:
    return value or '""'


def line(outcome: ServiceOutcome) -> str:
    """``snapd@v0: restarted, v0-view is new at the top``."""
    words = "nothing to do" if outcome.action == "none" else outcome.action
    return render.clean(f"{outcome.name}: {words}" + (f", {outcome.text}" if outcome.text else ""))


def finish(reply: VolumeReply, words: str, as_json: bool) -> int:
    """Print a change in the shape asked for, ``words`` said of the volume, and return the exit code."""
    if as_json:
        render.write(render.json_document(document(reply)))
    else:
        _print(reply.volume.name, words, reply.outcomes)
    return outcomes.exit_code([Outcome(one.name, one.action, ok=one.ok, code=one.code) for one in reply.outcomes])


def _print(name: str, words: str, concerned: Sequence[ServiceOutcome]) -> None:
    render.out(render.clean(f"{name}: {words}"), *(line(one) for one in concerned if one.ok))
    render.flush()
    for one in concerned:
        if not one.ok:
            render.err(line(one))
