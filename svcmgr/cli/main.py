"""The ``svcmgr`` program: runs one command and turns every end into a message and an exit code.

Theory of operation. Commands return an exit code or raise; nothing but this module talks about errors.
Whatever goes wrong ends as one line on standard error (and, with ``--json``, as an object on standard
output), never as a traceback; SVCMGR_DEBUG=1 adds the traceback for whoever develops. Imports happen inside
:func:`run`, for two reasons: ``svcmgr status`` pays for status alone, and an interrupt while Python is still
loading is caught like any other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from svcmgr.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, BadInput, NoSvcmgrd, SvcmgrError

if TYPE_CHECKING:
    import click

#: 128 + SIGINT and 128 + SIGPIPE, as a shell reports a program that died of the signal.
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

#: What a write to a full, broken or closed output gives (write(2)).
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF)


def run(args: Sequence[str]) -> int:
    """Run one command line on the standard streams and return its exit code."""
    as_json = _json_wanted(args)
    try:
        code = _invoke(args, as_json)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads our output any more: no reason to complain, and nobody to complain to.
        _discard_output()
        return EXIT_BROKEN_PIPE
    except SvcmgrError as error:
        return _report(error, as_json)
    except Exception as error:  # the last line of defence: a bug of ours must not become a traceback
        if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_ERRORS:
            return _output_failed(error)
        return _report(_unexpected(error), as_json)
    return code


def _invoke(args: Sequence[str], as_json: bool) -> int:
    import click

    from svcmgr.cli.group import cli

    _check_encoding(args)
    try:
        with cli.make_context("svcmgr", list(args)) as ctx:
            result = cli.invoke(ctx)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        return _usage(error, as_json)
    return int(result) if result is not None else EXIT_OK


def _check_encoding(args: Sequence[str]) -> None:
    for arg in args:
        # The interpreter maps a byte it cannot decode to a lone surrogate (PEP 383).
        if any("\ud800" <= character <= "\udfff" for character in arg):
            raise BadInput(f"cannot use argument {arg!a}: not valid in the encoding of this locale, use UTF-8")


def _json_wanted(args: Sequence[str]) -> bool:
    """Looked up by hand, because a usage error comes before anything is known of the options."""
    own = args[: args.index("--")] if "--" in args else args
    return "--json" in own


def _report(error: SvcmgrError, as_json: bool) -> int:
    from svcmgr.cli import render

    if as_json:
        _write_fault(error.code, error.message, error.details)
    with contextlib.suppress(OSError):
        render.err(f"svcmgr: {render.clean(error.message)}", *_advice(error))
    if os.environ.get("SVCMGR_DEBUG"):
        import traceback

        traceback.print_exc()
    return error.exit_code


def _write_fault(code: str, message: str, details: dict[str, Any]) -> None:
    from svcmgr.cli import render

    with contextlib.suppress(OSError):
        # One line, so that it also fits below the lines of a command that follows.
        render.write(render.json_line({"error": {"code": code, "message": message, "details": details}}))
        render.flush()


def _advice(error: SvcmgrError) -> list[str]:
    """What the details of an error say that its message does not."""
    from svcmgr.cli import render

    lines = []
    for key, words in (("near", "did you mean: "), ("known", "known: ")):
        names = error.details.get(key)
        if isinstance(names, list) and names and not all(str(name) in error.message for name in names):
            lines.append("  " + words + render.clean(", ".join(map(str, names))))
    if isinstance(error, NoSvcmgrd):
        lines.append("  `svcmgr up` starts it")
    tail = error.details.get("log_tail")
    if isinstance(tail, str) and tail not in error.message:
        lines += render.indented(tail)
    return lines


def _usage(error: click.ClickException, as_json: bool) -> int:
    if as_json:
        _write_fault(BadInput.code, error.format_message(), {})
    with contextlib.suppress(OSError):
        error.show()
    return EXIT_USAGE


def _discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush cannot fail."""
    nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nothing, 1)
    os.close(nothing)


def _output_failed(error: OSError) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"svcmgr: cannot write the output: {error.strerror} (errno {error.errno})\n")
    _discard_output()
    return EXIT_FAILED


def _unexpected(error: Exception) -> SvcmgrError:
    text = str(error) or "no text"
    return SvcmgrError(f"cannot finish: {type(error).__name__}: {text}; SVCMGR_DEBUG=1 shows where it happened")


def main() -> NoReturn:
    """Entry point of the ``svcmgr`` program."""
    try:
        if os.environ.get("_SVCMGR_COMPLETE"):
            from svcmgr.cli.completion import answer

            code = answer(os.environ["_SVCMGR_COMPLETE"])
        else:
            for stream in (sys.stdout, sys.stderr):
                # Text of others must not end us where the terminal knows fewer characters.
                if stream is not None:
                    stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)
