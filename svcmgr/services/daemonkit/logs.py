"""The log of a daemon is a file that its stdout and stderr point to; nothing is between the two.

Records are written straight to descriptor 2 with one write(2) each, so that lines of several writers to the same
O_APPEND file do not mix, nothing sits in a buffer when the process dies, and a full disk costs lines (counted) but
never the daemon.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from svcmgr.clock import rfc3339
from svcmgr.errors import StorageFailed
from svcmgr.fsutil import make_dir, write_all

_MODE = 0o640


class LogOutput(logging.Handler):
    """Where log lines go: ``path``, or the stderr we were started with when ``path`` is None."""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.path = path
        self.lost = 0
        self.reopened = 0

    def open(self) -> None:
        """Point stdout and stderr at the end of ``path``, created with its directory if absent. Idempotent.

        Raises:
            StorageFailed: directory or file cannot be had; the streams are as they were.
        """
        if self.path is None:
            return
        make_dir(self.path.parent)
        # O_NONBLOCK makes a fifo that nobody reads an error (ENXIO) instead of a wait for ever.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            fd = os.open(self.path, flags, _MODE)
        except OSError as error:
            raise StorageFailed(
                f"cannot open log {self.path}: {error.strerror} (errno {error.errno})",
                path=str(self.path),
                errno=error.errno,
            ) from error
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)

    def reopen(self) -> None:
        """As :meth:`open`, after somebody moved the file away. Raises StorageFailed."""
        self.open()
        self.reopened += self.path is not None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except (TypeError, ValueError, KeyError) as error:  # arguments that do not fit their format string
            line = f"{record.levelname} {record.name}: {record.msg!r} (cannot format: {error})"
        self.write(line)

    def write(self, line: str) -> None:
        """Write one line as it is."""
        try:
            write_all(2, (line + "\n").encode("utf-8", "backslashreplace"))
        except OSError:
            self.lost += 1  # shown in statistics; there is nowhere else to say it

    def facts(self) -> dict[str, object]:
        return {"path": str(self.path) if self.path else None, "lost": self.lost, "reopened": self.reopened}


class _Formatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return rfc3339(record.created)


def setup_logging(output: LogOutput, level: str) -> None:
    """Send all logging of the process to ``output``, one line per record, stamped in UTC (RFC 3339)."""
    output.setFormatter(_Formatter())
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(output)
    root.setLevel(level.upper())
