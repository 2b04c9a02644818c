"""``svcmgr snapshot schedule``, ``unschedule``, ``schedules``: snapshots that are taken by the clock."""

from __future__ import annotations

import sys

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.cli.snapshot_args import activate_option, volume_argument
from svcmgr.cli.snapshot_daemon import reach
from svcmgr.cli.snapshot_rows import SCHEDULE_COLUMNS, keep_words, schedule_cells, schedule_object
from svcmgr.errors import EXIT_OK
from svcmgr.services.snapd.wire import NameRequest, Schedule, ScheduleRequest, SchedulesReply


def _name_argument(function: click.decorators.FC) -> click.decorators.FC:
    return click.argument("name", metavar="NAME")(function)


@command(
    "schedule",
    "svcmgr snapshot schedule v0 hourly --every 1h --keep hourly=24,daily=7,weekly=4",
    "svcmgr snapshot schedule v0 safe --every 15m --keep last=8 --no-activate",
)
@volume_argument
@_name_argument
@json_option
@click.option("--every", required=True, metavar="INTERVAL", help="How often: 30s, 15m, 1h, 1d or 1w.")
@click.option(
    "--keep",
    required=True,
    metavar="RULES",
    help="What to keep, such as last=10,hourly=24,daily=7,weekly=4,monthly=12,yearly=2.",
)
@activate_option
@click.pass_obj
def schedule(app: App, volume: str, name: str, as_json: bool, every: str, keep: str, activate: bool | None) -> int:
    """Take snapshots by the clock.

    One every INTERVAL, and those that RULES do not keep are deleted. NAME is made, or changed. Runs are
    at whole multiples of the interval in UTC: 1h at the full hour, 1d at midnight, 1w on Monday. Only
    snapshots of this schedule are ever deleted by it.
    """
    with reach(app, volume) as client:
        request = ScheduleRequest(name, every, keep, activate)
        stored = schedule_object(client.call("schedule-set", request, type=Schedule))
    if as_json:
        render.write(render.json_document({"volume": volume, "schedule": stored}))
        return EXIT_OK
    due = f"next at {stored['next_due']}" if stored["next_due"] else "not due"
    words = f"every {stored['every']}, keeps {keep_words(stored['keep'])}, {due}"
    render.out(render.clean(f"{volume}: schedule {stored['name']}: {words}"))
    return EXIT_OK


@command("unschedule", "svcmgr snapshot unschedule v0 hourly")
@volume_argument
@_name_argument
@json_option
@click.pass_obj
def unschedule(app: App, volume: str, name: str, as_json: bool) -> int:
    """Forget a schedule.

    The snapshots it took stay, until they are deleted by name.
    """
    with reach(app, volume) as client:
        removed = schedule_object(client.call("schedule-remove", NameRequest(name), type=Schedule))
    if as_json:
        render.write(render.json_document({"volume": volume, "schedule": removed}))
        return EXIT_OK
    stay = f"; its {render.plural(removed['held'], 'snapshot')} stay" if removed["held"] else ""
    render.out(render.clean(f"{volume}: schedule {removed['name']} is removed{stay}"))
    return EXIT_OK


@command("schedules", "svcmgr snapshot schedules v0", "svcmgr snapshot schedules v0 --json")
@volume_argument
@json_option
@click.pass_obj
def schedules(app: App, volume: str, as_json: bool) -> int:
    """List the schedules of a volume.

    What they keep, when they are due, how the last run ended.
    """
    with reach(app, volume) as client:
        reply = client.call("schedules", type=SchedulesReply)
    found = [schedule_object(one) for one in reply.schedules]
    if as_json:
        render.write(render.json_document({"volume": volume, "schedules": found}))
    elif not found:
        render.out("no schedules")
    else:
        room = render.terminal_width(sys.stdout, app.environ)
        lines, left_out = render.table(SCHEDULE_COLUMNS, [schedule_cells(one) for one in found], room=room)
        render.out(*lines)
        if left_out:
            render.out(
                f"left out for lack of room: {', '.join(title.lower() for title in left_out)} (--json shows all)"
            )
    return EXIT_OK
