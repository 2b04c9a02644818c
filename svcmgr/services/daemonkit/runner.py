"""A daemon as a process, from its command line to its exit code.

The pidfile's lock comes first and is held to the end, so that a second start touches nothing of the first one: no log,
no socket, no resource.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from svcmgr.clock import SystemClock
from svcmgr.errors import SvcmgrError
from svcmgr.proc.pidfile import PidfileLock
from svcmgr.services.daemonkit.daemon import Daemon
from svcmgr.services.daemonkit.exits import EXIT_BUG, EXIT_OK, exit_code, one_line
from svcmgr.services.daemonkit.life import Life, Surroundings
from svcmgr.services.daemonkit.logs import LogOutput, setup_logging
from svcmgr.services.daemonkit.options import Options, parse_options

#: What only the process itself may use; its own children must not speak for it (sd_notify(3), "unset_environment").
_OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def run(daemon: type[Daemon], argv: Sequence[str] | None = None) -> int:
    """Run ``daemon`` until it is told to stop; the exit code of the process.

    ``argv`` is without the program name; None takes the process's own. Owns the process: signal handlers, root logger,
    descriptors 1 and 2. Exit codes: docs/daemons.md.

    Raises:
        SystemExit: usage was printed (2), or help (0).
    """
    # Until the handlers are there, a hang-up or a statistics request must not kill the process.
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    _name_process(daemon.name)
    try:
        options = parse_options(daemon.name, sys.argv[1:] if argv is None else argv, daemon.add_flags)
        with contextlib.ExitStack() as stack:
            if options.pidfile is not None:
                stack.enter_context(PidfileLock(options.pidfile))
            output = LogOutput(options.logfile)
            output.open()
            return _run_logged(daemon, options, output)
    except SvcmgrError as error:
        sys.stderr.write(f"{daemon.name}: {one_line(error)}\n")
        return exit_code(error)


def _run_logged(daemon: type[Daemon], options: Options, output: LogOutput) -> int:
    setup_logging(output, options.log_level)
    log = logging.getLogger(daemon.name)
    log.info("starting, pid %d", os.getpid())
    around = Surroundings(options, _take_environment(), SystemClock(), output, log)
    try:
        with asyncio.Runner(debug=options.debug) as runner:
            runner.run(_live(daemon, around))
    except SvcmgrError as error:
        log.error("%s", one_line(error), exc_info=error if options.debug else None)
        return exit_code(error)
    except (Exception, asyncio.CancelledError) as error:  # nobody but ourselves may cancel the main task
        log.critical("ended by a bug: %s", one_line(error), exc_info=error)
        return EXIT_BUG
    finally:
        # Everything is closed. Collecting the garbage of a whole interpreter is most of the time it takes to exit.
        gc.freeze()
    return EXIT_OK


async def _live(daemon: type[Daemon], around: Surroundings) -> None:
    await Life(daemon.name, daemon, around).run()


def _take_environment() -> Mapping[str, str]:
    environ = dict(os.environ)
    for name in _OURS_ALONE:
        os.environ.pop(name, None)
    return environ


def _name_process(name: str) -> None:
    # The kernel cuts to 15 bytes (proc_pid_comm(5)); without it every daemon is "python3" in top and pgrep.
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(name.encode()[:15])
