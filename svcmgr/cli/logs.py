"""``svcmgr logs``: what services wrote. Read from their files, so svcmgrd need not be there."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import click

from svcmgr.cli import offline, render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option, names_argument
from svcmgr.errors import EXIT_OK

#: A line that never ends is cut here, so that following it cannot eat all memory, bytes.
LINE_MAX = 1 << 20


@command("logs", "svcmgr logs web", "svcmgr logs -f web db", "svcmgr logs -n 100 'web@*'")
@names_argument()
@json_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=20, show_default=True, help="Begin that far back.")
@click.pass_obj
def logs(app: App, names: tuple[str, ...], as_json: bool, follow: bool, lines: int) -> int:
    """Show the end of the logs of services, rotated pieces included.

    With several services each line begins with the name. Works with svcmgrd down.
    """
    wanted = offline.log_names(app.layout, names)
    if follow:
        printer = Printer(prefix=len(wanted) > 1, as_json=as_json)
        _follow(printer, offline.follow(app.layout, wanted, lines))
        return EXIT_OK
    tails = offline.log_tail(app.layout, wanted, lines)
    if as_json:
        document = {"logs": [{"name": name, "lines": _decode_lines(data)} for name, data in tails.items()]}
        render.write(render.json_document(document))
        return EXIT_OK
    printer = Printer(prefix=len(wanted) > 1, as_json=as_json)
    for name, data in tails.items():
        printer.feed(name, data)
        printer.finish(name)
    return EXIT_OK


def _follow(printer: Printer, chunks: Iterable[tuple[str, bytes]]) -> None:
    for name, data in chunks:
        printer.feed(name, data)
        printer.flush()


def _decode_lines(data: bytes) -> list[str]:
    return [line.decode(errors="backslashreplace") for line in split(data)]


def split(data: bytes) -> list[bytes]:
    """Lines of ``data`` without their ends. Only LF ends a line: logs hold CR and form feeds of their own."""
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


class Printer:
    """Writes chunks of several logs as whole lines; those of a single log as the bytes they are."""

    def __init__(self, *, prefix: bool, as_json: bool) -> None:
        self._prefix = prefix
        self._as_json = as_json
        self._partial: dict[str, bytes] = {}

    def feed(self, name: str, data: bytes) -> None:
        """Print ``data``; an unfinished last line waits for its end if lines are what is printed."""
        if not self._prefix and not self._as_json:
            _write(data)
            return
        for line in self._whole_lines(name, data):
            self._print(name, line)

    def finish(self, name: str) -> None:
        """Print what waits for the end of its line."""
        line = self._partial.pop(name, b"")
        if line:
            self._print(name, line)

    def flush(self) -> None:
        """Hand everything printed to the system."""
        render.flush()

    def _whole_lines(self, name: str, data: bytes) -> Iterator[bytes]:
        *whole, rest = (self._partial.pop(name, b"") + data).split(b"\n")
        yield from whole
        while len(rest) >= LINE_MAX:
            yield rest[:LINE_MAX]
            rest = rest[LINE_MAX:]
        if rest:
            self._partial[name] = rest

    def _print(self, name: str, line: bytes) -> None:
        if self._as_json:
            render.write(render.json_line({"name": name, "line": line.decode(errors="backslashreplace")}))
        else:
            _write(f"{name}: ".encode() + line + b"\n")


def _write(data: bytes) -> None:
    """Bytes as they are: a log need not be UTF-8."""
    if sys.stdout is not None:
        sys.stdout.buffer.write(data)
