"""``svcmgrd`` and ``python -m svcmgr.host``: serve in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from svcmgr import __version__
from svcmgr.errors import EXIT_USAGE, SvcmgrError
from svcmgr.paths import resolve

_EPILOG = """examples:
  svcmgrd                        serve the default directories of this user
  svcmgrd --root /srv/lab        serve everything below one directory
  svcmgr install > svcmgrd.service   let systemd run it

signals: TERM, INT end svcmgrd and leave the services running; HUP reads the definitions again.
"""


def main(argv: list[str] | None = None) -> int:
    """Run svcmgrd. Returns the exit code: 0 ended on request, 1 failed, 2 usage."""
    args = _parse(sys.argv[1:] if argv is None else argv)
    try:
        # Set before any child can inherit it: the descriptor is for whoever started us, nobody else.
        if args.ready_fd is not None:
            os.set_inheritable(args.ready_fd, False)
    except OSError as error:
        sys.stderr.write(f"svcmgrd: cannot use --ready-fd {args.ready_fd}: {error.strerror}\n")
        return EXIT_USAGE
    try:
        return asyncio.run(_serve(args))
    except SvcmgrError as error:
        sys.stderr.write(f"svcmgrd: {error.message}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"svcmgrd: cannot serve: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="svcmgrd",
        description="Keep services in the state their operator wants. Runs in the foreground.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, help="keep everything below this directory (or set SVCMGR_ROOT)")
    parser.add_argument("--ready-fd", type=int, metavar="FD", help="write 'ready' to this descriptor when serving")
    parser.add_argument("--version", action="version", version=f"svcmgrd {__version__}")
    return parser.parse_args(argv)


async def _serve(args: argparse.Namespace) -> int:
    # Imported here so that --help and usage errors answer at once.
    from svcmgr.host.daemon import Daemon, Options
    from svcmgr.proc import RealOs

    layout = resolve(args.root, os.environ, os.getuid())
    return await Daemon(Options(layout, dict(os.environ), RealOs(), lambda: _tell_ready(args.ready_fd))).run()


def _tell_ready(fd: int | None) -> None:
    if fd is None:
        return
    try:
        os.write(fd, b"ready\n")
    except OSError as error:  # whoever waited is gone; that is no reason to end
        sys.stderr.write(f"svcmgrd: cannot tell that it is ready: {error.strerror}\n")
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
