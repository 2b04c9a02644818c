"""``svcmgr up`` and ``svcmgr shutdown``: the life of svcmgrd itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import click

from svcmgr.cli import outcomes, render
from svcmgr.cli.app import ANSWER_MARGIN_S, App
from svcmgr.cli.options import command, json_option, timeout_option
from svcmgr.cli.progress import goes_on, watching
from svcmgr.errors import EXIT_OK, DeadlineExceeded, NoSvcmgrd
from svcmgr.host.wire import DaemonInfo, ShutdownReply, ShutdownRequest


@command("up", "svcmgr up", "svcmgr --root /tmp/try up --timeout 10")
@json_option
@timeout_option
@click.pass_obj
def up(app: App, as_json: bool, timeout: float) -> int:
    """Start svcmgrd in the background; return when it answers.

    One that runs already is left alone.
    """
    from svcmgr.cli import launch

    with launch.only_one(app.layout):
        info = _hello(app)
        started = info is None
        if info is None:
            with goes_on("svcmgrd goes on starting"):
                launch.launch(app.layout, timeout)
            with app.connect() as client:
                info = client.call("hello", type=DaemonInfo)
    if as_json:
        document = {"result": "started" if started else "already-running", "pid": info.pid, "version": info.version}
        render.write(render.json_document(document))
    else:
        render.out(f"svcmgrd {'started' if started else 'is already running'} (pid {info.pid})")
    return EXIT_OK


def _hello(app: App) -> DaemonInfo | None:
    try:
        with app.connect() as client:
            info: DaemonInfo = client.call("hello", type=DaemonInfo)
    except NoSvcmgrd:
        return None
    return info


@command("shutdown", "svcmgr shutdown", "svcmgr shutdown --all --timeout 120")
@json_option
@click.option("--all", "stop_all", is_flag=True, help="Stop every service first, dependents before what they need.")
@timeout_option
@click.pass_obj
def shutdown(app: App, as_json: bool, stop_all: bool, timeout: float) -> int:
    """End svcmgrd; return when its process is gone.

    Services go on without it, and the next svcmgrd takes them over. --all stops them first; when one cannot
    be stopped, that is reported and the exit code is not 0.
    """
    with app.connect() as client, watching(app, stop_all):
        info = client.call("hello", type=DaemonInfo)
        with _process(info.pid) as pidfd:
            request = ShutdownRequest(all=stop_all, timeout_s=timeout)
            reply = client.call("shutdown", request, timeout=timeout + ANSWER_MARGIN_S, type=ShutdownReply)
            if pidfd is not None and not _gone(pidfd, ANSWER_MARGIN_S):
                raise DeadlineExceeded(
                    f"cannot see the end of svcmgrd: pid {info.pid} still runs {ANSWER_MARGIN_S:g} s after it agreed; "
                    f"see {app.layout.daemon_log}",
                    pid=info.pid,
                )
    if as_json:
        stopped = [outcomes.as_object(outcome) for outcome in reply.stopped]
        render.write(render.json_document({"pid": info.pid, "stopped": stopped, "stays": reply.stays}))
    else:
        outcomes.report(reply.stopped)
        _print_stays(reply, info.pid)
    return outcomes.exit_code(reply.stopped)


def _print_stays(reply: ShutdownReply, pid: int) -> None:
    render.out(f"svcmgrd ended (pid {pid})")
    if reply.stays:
        render.out(f"{render.plural(len(reply.stays), 'service')} {'goes' if len(reply.stays) == 1 else 'go'} on:")
    for name, service_pid in reply.stays.items():
        render.out(f"  {render.clean(name)} (pid {service_pid})")


@contextlib.contextmanager
def _process(pid: int) -> Iterator[int | None]:
    """A pidfd of ``pid``, opened before it is asked to end; None where it is not in our pid namespace."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _gone(pidfd: int, timeout: float) -> bool:
    """Whether the process ends within ``timeout`` seconds: a pidfd becomes readable then (pidfd_open(2))."""
    import select

    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(timeout * 1000))
