"""How errors become exit codes and single lines."""

import pytest

from svcmgr.errors import BadInput, ConnectionFault, NoSvcmgrd, PidfileHeld, StartFailed, StorageFailed
from svcmgr.services.daemonkit.exits import EXIT_NO_VOLFILE_SERVER, EXIT_USAGE, cannot_start, exit_code, one_line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PidfileHeld("x"), 1),
        (StorageFailed("x"), 1),
        (NoSvcmgrd("x"), 1),
        (BadInput("x"), 2),
        (StartFailed("x"), 1),
        (cannot_start("d", OSError(2, "gone")), 1),
        (cannot_start("d", BadInput("x"), EXIT_USAGE), 2),
        (cannot_start("d", BadInput("x")), 1),
        (cannot_start("d", ConnectionFault("x"), EXIT_NO_VOLFILE_SERVER), 107),
    ],
)
def test_exit_codes(error, code):
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BadInput("cannot do\n  this"), "cannot do this"),
        (FileNotFoundError(2, "No such file", "/x"), "/x: No such file (errno 2)"),
        (OSError(5, "Input/output error"), "Input/output error (errno 5)"),
        (KeyError("zone"), "KeyError: 'zone'"),
    ],
)
def test_an_error_is_one_line(error, line):
    assert one_line(error) == line
