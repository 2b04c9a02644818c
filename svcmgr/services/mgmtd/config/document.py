"""A TOML text as flat keys, with every error at its line, column and key.

Theory of operation. Keys of nested tables are joined with dots, as an operator writes them: ``user_cache.buckets``. A
text is bounded before it is read, because it comes from a peer: by its size, its lines, and the number of its keys.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.places import Place, places

#: Largest text, bytes of UTF-8: a version with its description fits into one value of etcd, which takes 1.5 MiB with
#: all that is sent with it (etcd-io/etcd, server/embed/config.go, DefaultMaxRequestBytes).
CONTENT_MAX = 256 * 1024
LINES_MAX = 5_000
KEYS_MAX = 5_000
#: Parts of a dotted key. tomllib's time grows with the cube of their number (python/cpython, Lib/tomllib/_parser.py,
#: key_value_rule), so longer ones are refused before it sees them; also inside of strings, where nobody has them.
PARTS_MAX = 40
#: Faults that one refusal names.
FAULTS_MAX = 20

_LONG_KEY = re.compile(r"""(?:\.[ \t]*(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*)""" + f"{{{PARTS_MAX}}}")
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")

_WHERE = re.compile(r" *\(at (?:line (\d+), column (\d+)|end of document)\)\Z")


@attrs.frozen
class Document:
    """What a text sets: dotted key -> TOML value that is no table; and where each key, or table, stands."""

    values: Mapping[str, Any]
    places: Mapping[str, Place]


@attrs.frozen
class Fault:
    """One thing that is wrong; line and column are 0 and the key "" where there is none."""

    reason: str
    key: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}: " if self.line else ""
        return f"{where}{f'key {self.key}: ' if self.key else ''}{self.reason}"


def refusal(what: str, faults: list[Fault]) -> InvalidConfig:
    """The error for one or more faults; its message has the first of them."""
    first, more = faults[0], len(faults) - 1
    return InvalidConfig(
        f"cannot use {what}: {first}{f' (and {more} more)' if more else ''}",
        line=first.line,
        column=first.column,
        key=first.key,
        faults=[str(fault) for fault in faults[:FAULTS_MAX]],
    )


def check_size(text: str, what: str = "the configuration") -> str:
    """``text`` itself if it is small enough and can be stored. Raises InvalidConfig."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise refusal(what, [Fault(f"character {error.start} cannot be written as UTF-8")]) from None
    if size > CONTENT_MAX:
        raise refusal(what, [Fault(f"it has {size} bytes, the limit is {CONTENT_MAX}; make it shorter")])
    if (lines := text.count("\n") + 1) > LINES_MAX:
        raise refusal(what, [Fault(f"it has {lines} lines, the limit is {LINES_MAX}; make it shorter")])
    return text


def read(text: str) -> Document:
    """``text`` as a document. Raises InvalidConfig: too large, no TOML, too many keys."""
    check_size(text)
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise refusal("the configuration", [Fault(f"a key has more than {PARTS_MAX} parts", "", line, 1)])
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise refusal("the configuration", [Fault("its values are nested too deeply")]) from None
    except ValueError as error:  # TOMLDecodeError is one, and a number of thousands of digits is another
        raise refusal("the configuration", [_syntax(text, str(error))]) from error
    values = dict(_flat(table, ()))
    if len(values) > KEYS_MAX:
        raise refusal("the configuration", [Fault(f"it has {len(values)} keys, the limit is {KEYS_MAX}")])
    return Document(values, {dotted(path): place for path, place in places(text).items()})


def _syntax(text: str, message: str) -> Fault:
    """The fault that tomllib found, with the key that stands on that line."""
    found = _WHERE.search(message)
    reason = message[: found.start()] if found else message
    reason = f"{reason[:1].lower()}{reason[1:200]}"
    if not found:
        return Fault(reason)
    lines = text.split("\n")
    line = int(found[1]) if found[1] else len(lines)
    column = int(found[2]) if found[2] else len(lines[-1]) + 1
    before, equals, _ = lines[line - 1].partition("=") if line <= len(lines) else ("", "", "")
    return Fault(reason, before.strip()[:100] if equals else "", line, column)


def dotted(path: Iterable[str]) -> str:
    """The parts of a key as one name; a part that is not plain is quoted, so that no two keys have the same name."""
    return ".".join(part if _BARE.match(part) else repr(part) for part in path)


def _flat(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, key))
        else:
            yield dotted((*path, key)), value
