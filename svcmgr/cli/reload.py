"""``svcmgr reload``: read the definitions again and apply the difference, or pass the word on to services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from svcmgr.cli import outcomes, render
from svcmgr.cli.actions import act
from svcmgr.cli.app import ANSWER_MARGIN_S, App
from svcmgr.cli.options import command, json_option, names_argument, timeout_option
from svcmgr.cli.progress import watching
from svcmgr.errors import EXIT_FAILED, BadInput
from svcmgr.host.wire import Change, ReloadReply

_SIGNS = {"add": "+", "remove": "-", "restart": "!", "live": "~", "none": "=", "invalid": "?"}
_WORDS = {
    "add": "added",
    "remove": "removed",
    "restart": "changed, needs a restart",
    "live": "changed, applied as it runs",
    "none": "unchanged",
    "invalid": "invalid, left as it was",
}


@command("reload", "svcmgr reload --dry-run", "svcmgr reload", "svcmgr reload web")
@names_argument(required=False)
@json_option
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@timeout_option
@click.pass_obj
def reload(app: App, names: tuple[str, ...], as_json: bool, dry_run: bool, timeout: float) -> int:
    """Read the definitions again and apply what changed.

    With NAMEs: those services read their own configuration again; no definition is touched. A definition
    that is invalid is reported (exit code 1), changes nothing, and does not hold up the others.
    """
    if names and dry_run:
        raise BadInput("cannot dry-run the reload of services by name: only they know what they would read")
    if names:
        return act(app, "reload", names, wait=True, timeout=timeout, as_json=as_json)
    with app.connect() as client, watching(app, not dry_run):
        reply = client.call("plan" if dry_run else "reread", timeout=timeout + ANSWER_MARGIN_S, type=ReloadReply)
    if as_json:
        render.write(render.json_document(_document(reply, dry_run)))
    else:
        render.out(*(text for change in reply.changes for text in lines(change)))
        if not any(change.action != "none" for change in reply.changes):
            render.out("nothing to change")
        outcomes.report(reply.outcomes)
    if any(change.action == "invalid" for change in reply.changes):
        return EXIT_FAILED
    return outcomes.exit_code(reply.outcomes)


def _document(reply: ReloadReply, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "changes": [
            {"name": change.name, "action": change.action, "fields": change.fields, "text": change.text}
            for change in reply.changes
        ],
        "outcomes": [outcomes.as_object(outcome) for outcome in reply.outcomes],
    }


def lines(change: Change) -> list[str]:
    """One change as text: what happens to the service, then old and new value of each field."""
    if change.action == "none":
        return []
    head = f"{_SIGNS.get(change.action, ' ')} {change.name}: {_WORDS.get(change.action, change.action)}"
    text = f" ({change.text})" if change.text else ""
    return [render.clean(head + text), *(_field(name, pair) for name, pair in change.fields.items())]


def _field(name: str, pair: Sequence[Any]) -> str:
    values = " -> ".join("(unset)" if value is None else render.json_line(value).strip() for value in pair)
    return render.clean(f"    {name}: {values}")
