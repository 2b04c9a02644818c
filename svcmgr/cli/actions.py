"""Commands that change services: start, stop, restart, enable, disable, remove."""

from __future__ import annotations

from collections.abc import Sequence

import click

from svcmgr.cli import outcomes
from svcmgr.cli.app import ANSWER_MARGIN_S, QUICK_S, App
from svcmgr.cli.options import command, json_option, names_argument, no_wait_option, timeout_option
from svcmgr.cli.progress import watching
from svcmgr.host.wire import ActionReply, ActionRequest, RemoveRequest


def act(app: App, verb: str, names: Sequence[str], *, wait: bool, timeout: float, as_json: bool) -> int:
    """Ask svcmgrd for ``verb`` on ``names``, print what became of each, return the exit code."""
    request = ActionRequest(list(names), wait=wait, timeout_s=timeout)
    patience = timeout + ANSWER_MARGIN_S if wait else QUICK_S
    with app.connect() as client, watching(app, wait):
        reply = client.call(verb, request, timeout=patience, type=ActionReply)
    return outcomes.finish(reply.outcomes, as_json)


@command("start", "svcmgr start web db", "svcmgr start 'web@*' --timeout 10", "svcmgr start '*' --no-wait")
@names_argument()
@json_option
@no_wait_option
@timeout_option
@click.pass_obj
def start(app: App, names: tuple[str, ...], as_json: bool, no_wait: bool, timeout: float) -> int:
    """Start services, with what they require, and wait until they are ready.

    A service that runs already is left alone.
    """
    return act(app, "start", names, wait=not no_wait, timeout=timeout, as_json=as_json)


@command("stop", "svcmgr stop web", "svcmgr stop '*' --timeout 30")
@names_argument()
@json_option
@no_wait_option
@timeout_option
@click.pass_obj
def stop(app: App, names: tuple[str, ...], as_json: bool, no_wait: bool, timeout: float) -> int:
    """Stop services and wait until nothing of them is left.

    The stop signal first, SIGKILL after the service's grace time. A stopped service is left alone.
    """
    return act(app, "stop", names, wait=not no_wait, timeout=timeout, as_json=as_json)


@command("restart", "svcmgr restart web", "svcmgr restart 'web@*' --timeout 30")
@names_argument()
@json_option
@no_wait_option
@timeout_option
@click.pass_obj
def restart(app: App, names: tuple[str, ...], as_json: bool, no_wait: bool, timeout: float) -> int:
    """Stop services, then start them; one that was stopped is started."""
    return act(app, "restart", names, wait=not no_wait, timeout=timeout, as_json=as_json)


@command("enable", "svcmgr enable web")
@names_argument()
@json_option
@click.pass_obj
def enable(app: App, names: tuple[str, ...], as_json: bool) -> int:
    """Let services start when svcmgrd starts. Does not start them now."""
    return act(app, "enable", names, wait=False, timeout=QUICK_S, as_json=as_json)


@command("disable", "svcmgr disable web 'batch@*'")
@names_argument()
@json_option
@click.pass_obj
def disable(app: App, names: tuple[str, ...], as_json: bool) -> int:
    """Do not start services when svcmgrd starts. Does not stop them now."""
    return act(app, "disable", names, wait=False, timeout=QUICK_S, as_json=as_json)


@command("remove", "svcmgr remove web --stop", "svcmgr remove 'try@*'")
@names_argument()
@json_option
@click.option("--stop", "stop_first", is_flag=True, help="Stop them first; without it a running service is refused.")
@timeout_option
@click.pass_obj
def remove(app: App, names: tuple[str, ...], as_json: bool, stop_first: bool, timeout: float) -> int:
    """Forget the definitions of services. Their logs stay."""
    request = RemoveRequest(list(names), stop=stop_first, timeout_s=timeout)
    with app.connect() as client, watching(app, stop_first):
        reply = client.call("remove", request, timeout=timeout + ANSWER_MARGIN_S, type=ActionReply)
    return outcomes.finish(reply.outcomes, as_json)
