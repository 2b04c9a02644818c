"""The standard command line of a daemon, the same letters that glusterfs daemons take.

There is one mode, the foreground: a supervisor that starts a daemon wants its child, its exit code and its standard
streams, none of which survive daemonising. ``-N`` is accepted because scripts pass it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from svcmgr.errors import BadInput
from svcmgr.paths import SOCKET_PATH_MAX

_LEVELS = ("debug", "info", "warning", "error")


@attrs.frozen
class Options:
    """The standard flags; paths are absolute. ``flags`` has these and the daemon's own ones."""

    volfile_server: Path | None
    volfile_id: str | None
    pidfile: Path | None
    logfile: Path | None
    socket: Path | None
    debug: bool
    log_level: str
    flags: argparse.Namespace


def parse_options(
    name: str, argv: Sequence[str], add_flags: Callable[[argparse.ArgumentParser], None], summary: str = ""
) -> Options:
    """Read ``argv`` (without the program name).

    Raises:
        SystemExit: 2 after usage was printed for a bad flag; 0 after ``--help``.
        BadInput: a flag whose value cannot work: a socket path that no socket address holds.
    """
    parser = _parser(name, summary)
    add_flags(parser)
    flags = parser.parse_args(argv)
    if flags.volfile_id is not None and flags.volfile_server is None:
        parser.error("--volfile-id needs -s VOLFILE-SERVER to fetch it from")
    for path in (flags.socket, flags.volfile_server):
        _check_socket_path(path)
    level = "debug" if flags.debug else flags.log_level
    return Options(
        flags.volfile_server, flags.volfile_id, flags.pidfile, flags.logfile, flags.socket, flags.debug, level, flags
    )


def _parser(name: str, summary: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=summary or None, allow_abbrev=False)
    parser.add_argument(
        "-s", "--volfile-server", type=_path, metavar="VOLFILE-SERVER", help="unix socket that serves volfiles"
    )
    parser.add_argument("--volfile-id", type=_text, metavar="ID", help="which volfile to fetch from it")
    parser.add_argument("-p", "--pid-file", dest="pidfile", type=_path, metavar="PIDFILE", help="locked for life")
    parser.add_argument("-l", "--log-file", dest="logfile", type=_path, metavar="LOGFILE", help="default: stderr")
    parser.add_argument("-S", "--socket-file", dest="socket", type=_path, metavar="SOCKET", help="where to serve verbs")
    parser.add_argument("-N", "--no-daemon", action="store_true", help="foreground; the only mode")
    parser.add_argument("-v", "--debug", action="store_true", help="debug log level, tracebacks, asyncio debug mode")
    parser.add_argument("--log-level", choices=_LEVELS, default="info", help="default: info")
    return parser


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _path(text: str) -> Path:
    # Made absolute now, because SIGHUP opens the log again after the daemon may have changed its directory.
    return Path(os.path.abspath(_text(text)))


def _check_socket_path(path: Path | None) -> None:
    if path is not None and (size := len(os.fsencode(path))) > SOCKET_PATH_MAX:
        raise BadInput(
            f"cannot use socket {path}: {size} bytes, a unix socket address holds {SOCKET_PATH_MAX}",
            path=str(path),
            size=size,
        )
