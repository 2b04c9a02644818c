"""How a daemon ends: its exit codes, and how a failure becomes one line.

glusterfsd is the precedent for 1, 2 and 107 (glusterfs: glusterfsd/src/glusterfsd.c); unlike there an orderly end is 0
whatever asked for it, so that a supervisor need not know signals to tell an end from a failure.
"""

from __future__ import annotations

import errno

from svcmgr.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, StartFailed, SvcmgrError

#: The volfile server does not answer.
EXIT_NO_VOLFILE_SERVER = errno.ENOTCONN
#: A bug of the daemon; the log has the traceback. EX_SOFTWARE of sysexits.h.
EXIT_BUG = 70

__all__ = ["EXIT_BUG", "EXIT_FAILED", "EXIT_NO_VOLFILE_SERVER", "EXIT_OK", "EXIT_USAGE"]


def cannot_start(name: str, error: BaseException, exit_code: int = EXIT_FAILED) -> StartFailed:
    """The error that ends daemon ``name`` with ``exit_code`` because of ``error``."""
    return StartFailed(f"cannot start {name}: {one_line(error)}", exit_code=exit_code)


def exit_code(error: SvcmgrError) -> int:
    """The code to exit with for an error that escaped the start: 2 where the command line is wrong, else 1."""
    chosen = error.details.get("exit_code") if isinstance(error, StartFailed) else None
    if isinstance(chosen, int):
        return chosen
    return EXIT_USAGE if error.exit_code == EXIT_USAGE else EXIT_FAILED


def one_line(error: BaseException) -> str:
    """``error`` as one line: ours as they are, the system's by their text, any other with its class."""
    if isinstance(error, SvcmgrError):
        text = error.message
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror} (errno {error.errno})"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())
