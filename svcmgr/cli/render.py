"""Text and JSON as people and programs get them.

Theory of operation. Everything that reaches a terminal goes through :func:`clean`, because names of
processes, reasons and log tails come from elsewhere and may hold control sequences. A table has one line per
row and is never wrapped; where a terminal is too narrow, whole columns are left out by rank and named below
the table, so nothing disappears unsaid. Colour is decided once per stream: a terminal that is not "dumb",
and no NO_COLOR (https://no-color.org: any value that is not empty).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STATUS_COLOURS = {
    "online": "green",
    "degraded": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "backoff": "yellow",
    "foreign": "red",
    "failed": "red",
    "down": "dim",
}


class Column(msgspec.Struct, frozen=True):
    """A heading, and the rank by which it is left out of a narrow table: 0 never, higher ones earlier."""

    title: str
    rank: int = 0
    right: bool = False


def is_tty(stream: TextIO | None) -> bool:
    """Whether ``stream`` is a terminal; a closed or missing stream is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def use_colour(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Whether to colour what goes to ``stream``."""
    return is_tty(stream) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, enabled: bool) -> str:
    """``text`` between the sequences of ``colour``, or as it is."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if enabled and colour else text


def status_colour(status: str) -> str | None:
    """The colour of a service status; unknown ones have none."""
    return _STATUS_COLOURS.get(status.lower())


def clean(text: str) -> str:
    """``text`` without control characters: each one is shown as ``\\xNN``, a tab as a blank."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c == "\t" else ascii(c)[1:-1] for c in text)


def indented(text: str, margin: str = "    ") -> list[str]:
    """The lines of ``text`` cleaned and moved right; for log tails."""
    return [margin + clean(line) for line in text.splitlines()]


def width(text: str) -> int:
    """Cells that ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def fit(columns: Sequence[Column], widths: Sequence[int], room: int | None) -> list[int]:
    """Indices of the columns that are shown in ``room`` cells (None: all of them)."""
    shown = list(range(len(columns)))
    while room is not None and sum(widths[i] + 2 for i in shown) - 2 > room:
        spare = [i for i in shown if columns[i].rank]
        if not spare:
            break
        shown.remove(max(spare, key=lambda i: columns[i].rank))
    return shown


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    room: int | None = None,
    colour: bool = False,
) -> tuple[list[str], list[str]]:
    """Lines of a table, and the titles of the columns left out for lack of room.

    A cell that is empty is shown as ``-`` so that columns can be counted by programs. Cells that name a
    status are coloured when ``colour``.
    """
    cells = [[clean(cell) or "-" for cell in row] for row in rows]
    widths = [max([width(c.title), *(width(row[i]) for row in cells)]) for i, c in enumerate(columns)]
    shown = fit(columns, widths, room)
    lines = [_line([c.title for c in columns], columns, widths, shown, None)]
    coloured = next((i for i, c in enumerate(columns) if colour and c.title == "STATUS"), None)
    lines += [_line(row, columns, widths, shown, coloured) for row in cells]
    return lines, [c.title for i, c in enumerate(columns) if i not in shown]


def _line(
    row: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    shown: Sequence[int],
    coloured: int | None,
) -> str:
    parts = []
    for i in shown:
        blank = " " * (widths[i] - width(row[i]))
        text = paint(row[i], status_colour(row[i]), True) if i == coloured else row[i]
        parts.append(blank + text if columns[i].right else text + blank)
    return "  ".join(parts).rstrip()


def terminal_width(stream: TextIO | None, environ: Mapping[str, str]) -> int | None:
    """Columns of the terminal behind ``stream``; None when it is not a terminal."""
    if not is_tty(stream) or stream is None:
        return None
    if environ.get("COLUMNS", "").isdigit():
        return int(environ["COLUMNS"])
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 80


def duration(seconds: float) -> str:
    """Seconds in the two largest units: ``4s``, ``3m04s``, ``5h10m``, ``2d03h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(count: int) -> str:
    """Bytes in the largest binary unit that leaves a whole part: ``12 B``, ``1.5 MiB``."""
    if count < 1024:
        return f"{count} B"
    power = 1
    while power < len(_UNITS) - 1 and count / 1024**power >= 1023.95:  # what would be shown as 1024.0
        power += 1
    return f"{count / 1024**power:.1f} {_UNITS[power]}"


def plural(count: int, noun: str) -> str:
    """``1 service``, ``2 services``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def facts(value: object, margin: str = "") -> list[str]:
    """A nested mapping as ``key: value`` lines, deeper levels indented."""
    if not isinstance(value, Mapping):
        return [f"{margin}{_scalar(value)}"]
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            lines += [f"{margin}{clean(str(key))}:", *facts(item, margin + "  ")]
        elif isinstance(item, str) and "\n" in item:
            lines += [f"{margin}{clean(str(key))}:", *indented(item, margin + "  | ")]
        else:
            lines.append(f"{margin}{clean(str(key))}: {_scalar(item)}")
    return lines


def _scalar(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return clean(value)
    return clean(msgspec.json.encode(value).decode())


def json_line(value: Any) -> str:
    """``value`` as JSON on one line; what following commands print per item."""
    return msgspec.json.encode(value).decode() + "\n"


def json_document(value: Any) -> str:
    """``value`` as indented JSON with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def out(*lines: str) -> None:
    """Write lines to standard output."""
    write("".join(line + "\n" for line in lines))


def write(text: str) -> None:
    """Write text to standard output as it is."""
    if sys.stdout is not None and text:
        sys.stdout.write(text)


def flush() -> None:
    """Hand what was written to standard output to the system."""
    if sys.stdout is not None:
        sys.stdout.flush()


def err(*lines: str) -> None:
    """Write lines to standard error at once."""
    if sys.stderr is not None:
        sys.stderr.write("".join(line + "\n" for line in lines))
        sys.stderr.flush()
