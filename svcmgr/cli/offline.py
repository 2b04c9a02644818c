"""What can be said about services without svcmgrd: reads of its files, behind one typed seam.

The host room owns the files; it is imported only when it is needed, because it is far heavier than a client.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from svcmgr.errors import UnknownService

if TYPE_CHECKING:
    from svcmgr.host.wire_status import ServiceRow
    from svcmgr.paths import Layout


def _host() -> Any:
    return importlib.import_module("svcmgr.host.offline")


def rows(layout: Layout, names: Sequence[str] = ()) -> list[ServiceRow]:
    """The services of ``layout`` that match ``names`` (names or globs; none means all).

    Raises:
        UnknownService: a name matches nothing.
    """
    known = cast("list[ServiceRow]", _host().status(layout))
    if not names:
        return known
    wanted = set(expand(names, [row.name for row in known]))
    return [row for row in known if row.name in wanted]


def expand(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """``names`` with globs replaced by what they match, in the order given, each once. Raises UnknownService."""
    from fnmatch import fnmatchcase

    found: dict[str, None] = {}
    for name in names:
        hits = [name] if name in known else [one for one in known if fnmatchcase(one, name)]
        if not hits:
            raise _unknown(name, known)
        found.update(dict.fromkeys(hits))
    return list(found)


def _unknown(name: str, known: Sequence[str]) -> UnknownService:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=5) or sorted(known)[:10]
    words = f"; known services: {', '.join(near)}" if near else "; no service is defined"
    return UnknownService(f"cannot find service {name!r}{words}", name=name, near=near)


def log_names(layout: Layout, names: Sequence[str]) -> list[str]:
    """Names for the log readers: as given, unless there is a glob to expand."""
    if any(character in name for name in names for character in "*?["):
        return expand(names, [row.name for row in cast("list[ServiceRow]", _host().status(layout))])
    return list(dict.fromkeys(names))


def log_tail(layout: Layout, names: Sequence[str], lines: int) -> dict[str, bytes]:
    """The last ``lines`` lines of each log."""
    return cast("dict[str, bytes]", _host().log_tail(layout, list(names), lines))


def follow(layout: Layout, names: Sequence[str], lines: int) -> Iterator[tuple[str, bytes]]:
    """The last ``lines`` lines of each log and what is appended to it from then on, as (name, bytes), without end."""
    return cast("Iterator[tuple[str, bytes]]", _host().follow(layout, list(names), lines))
