"""Where each key of a TOML text stands.

Theory of operation. tomllib says what a text means and not where it says so. This reads a text that tomllib has taken,
so it need not find errors, only keys: it cuts the text into tokens, in which strings and comments are one token each,
and follows brackets. Outside of brackets a line is a header or ``key = value``; inside ``{`` every part up to ``=`` is
a key below the one that the brace is the value of; inside ``[`` that is a value there are only values.
TOML v1.0.0, sections "Keys", "Table", "Inline Table" and "Array of Tables".
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

import attrs

Path = tuple[str, ...]

#: A string of three quotes ends at the first three, and may have one or two more that belong to it.
_TOKEN = re.compile(
    r"""(?P<string>\"\"\"(?:[^\\]|\\.)*?\"\"\""{0,2}|'''.*?''''{0,2}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
    r"""|(?P<comment>\#[^\n]*)|(?P<newline>\n)|(?P<mark>[\[\]{},=.])"""
    r"""|(?P<bare>[^\s"'\#\[\]{},=.]+)|(?P<blank>[ \t\r]+)""",
    re.DOTALL,
)


@attrs.frozen
class Place:
    """Line and column of the first character of a key, both counted from 1, columns in characters."""

    line: int
    column: int


@attrs.define
class _Scan:
    """Where the scan is: ``table`` is the header in force, ``open`` the brackets around, with the key before each."""

    table: Path = ()
    open: list[tuple[str, Path]] = attrs.field(factory=list)
    parts: list[str] = attrs.field(factory=list)
    start: int = -1
    in_value: bool = False
    found: dict[Path, int] = attrs.field(factory=dict)

    @property
    def base(self) -> Path:
        return self.open[-1][1] if self.open else self.table

    def forget(self) -> None:
        self.parts, self.start = [], -1

    def note(self) -> Path:
        """Keep the key that was just read; the first mention of one is its place. Returns its path."""
        path = (*self.base, *self.parts)
        for length in range(len(self.base) + 1, len(path) + 1):
            self.found.setdefault(path[:length], self.start)
        return path


def places(text: str) -> Mapping[Path, Place]:
    """The place of every key and table of ``text``, which is valid TOML."""
    scan = _Scan()
    path: Path = ()
    for kind, token, at in _tokens(text):
        if kind == "newline" and not scan.open:
            scan.forget()
            scan.in_value = False
        elif kind == "mark":
            path = _mark(scan, token, path)
        elif kind in ("string", "bare") and not scan.in_value:
            scan.start = at if scan.start < 0 else scan.start
            scan.parts.append(_plain(token) if kind == "string" else token)
    return _in_lines(text, scan.found)


def _mark(scan: _Scan, mark: str, path: Path) -> Path:
    """Follow one bracket, comma or equals sign; ``path`` is the key whose value is being read."""
    if mark == "=":
        path = scan.note()
        scan.in_value = True
    elif mark in "[{":
        if not scan.in_value and (not scan.open or scan.open[-1][0] == "header"):
            scan.open.append(("header", ()))
        else:
            scan.open.append((mark, path))
            scan.in_value = mark == "["
            scan.forget()
    elif mark in "]}":
        _close(scan)
    elif mark == "," and scan.open:
        scan.in_value = scan.open[-1][0] == "["
        scan.forget()
    return path


def _close(scan: _Scan) -> None:
    kind, _ = scan.open.pop()
    if kind == "header":
        if not scan.open:
            scan.table = ()
            scan.table = scan.note()
            scan.forget()
    else:
        scan.in_value = True


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup not in ("comment", "blank", None):
            yield str(match.lastgroup), match[0], match.start()


def _plain(token: str) -> str:
    """The text of a quoted key."""
    return str(tomllib.loads(f"key = {token}")["key"])


def _in_lines(text: str, found: Mapping[Path, int]) -> dict[Path, Place]:
    """Offsets as lines and columns, in one walk over the text."""
    placed: dict[Path, Place] = {}
    line, start = 1, 0
    for path, at in sorted(found.items(), key=lambda item: item[1]):
        line += text.count("\n", start, at)
        start = at
        placed[path] = Place(line, at - text.rfind("\n", 0, at))
    return placed
