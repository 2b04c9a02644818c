"""Chains and chain tables as CSV (RFC 4180), in the two forms of deepseek-ai/3FS (src/client/cli/admin).

Theory of operation. Chains have the header ``ChainId,TargetId,...`` with one column for each target, a chain table has
``ChainId``. The header says which of the two a file is, so that one cannot be taken for the other. A chain may have
fewer targets than the header has columns; the cells behind it are empty then. An id may occur once in a file: a chain
is described once, and a target belongs to one chain. What is wrong is told with the name of the file and the line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.wire import ChainInfo, ChainSettingInfo

CHAIN_HEADER = "ChainId"
TARGET_HEADER = "TargetId"
_U32_MAX = 2**32 - 1
_U64_MAX = 2**64 - 1

Row = tuple[int, list[str]]


def read_chains(text: str, name: str, keep_order: bool) -> list[ChainSettingInfo]:
    """The chains of a file called ``name``. Raises BadInput with the line."""
    header, rows = _read(text, name)
    if header[:1] != [CHAIN_HEADER] or len(header) < 2 or set(header[1:]) != {TARGET_HEADER}:
        raise _bad(name, 1, f"the header is not {CHAIN_HEADER},{TARGET_HEADER},... with a column for each target")
    chains: dict[int, int] = {}
    targets: dict[int, int] = {}
    found = []
    for line, cells in rows:
        if len(cells) > len(header):
            raise _bad(name, line, f"{len(cells)} cells are more than the {len(header)} columns of the header")
        chain = _once(chains, _number(cells[0], "chain id", _U32_MAX, name, line), "chain", name, line)
        own = [_number(cell, "target id", _U64_MAX, name, line) for cell in _without_end(cells[1:])]
        if not own:
            raise _bad(name, line, f"chain {chain} has no targets")
        for target in own:
            _once(targets, target, "target", name, line)
        found.append(ChainSettingInfo(chain, own, keep_order))
    return found


def read_table(text: str, name: str) -> list[int]:
    """The chains of a chain table in a file called ``name``, in order. Raises BadInput with the line."""
    header, rows = _read(text, name)
    if header != [CHAIN_HEADER]:
        raise _bad(name, 1, f"the header is not {CHAIN_HEADER}, the only column of a chain table")
    seen: dict[int, int] = {}
    found = []
    for line, cells in rows:
        if len(cells) != 1:
            raise _bad(name, line, f"{len(cells)} cells; a chain table has one in each line")
        found.append(_once(seen, _number(cells[0], "chain id", _U32_MAX, name, line), "chain", name, line))
    return found


def write_chains(chains: Sequence[ChainInfo]) -> str:
    """What :func:`read_chains` reads, by chain id; as many columns as the longest chain needs."""
    longest = max((len(chain.targets) for chain in chains), default=1) or 1
    rows = [[CHAIN_HEADER, *[TARGET_HEADER] * longest]]
    for chain in sorted(chains, key=lambda one: one.chain):
        targets = [str(one.target) for one in chain.targets]
        rows.append([str(chain.chain), *targets, *[""] * (longest - len(targets))])
    return _write(rows)


def write_table(chains: Iterable[int]) -> str:
    """What :func:`read_table` reads; the order is that of the table, which files count by."""
    return _write([[CHAIN_HEADER], *([str(chain)] for chain in chains)])


def _write(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read(text: str, name: str) -> tuple[list[str], list[Row]]:
    rows = list(_rows(text, name))
    if not rows:
        raise _bad(name, 1, "the file is empty; the first line is a header")
    if len(rows) == 1:
        raise _bad(name, rows[0][0], "nothing follows the header")
    return rows[0][1], rows[1:]


def _rows(text: str, name: str) -> Iterator[Row]:
    """Number and cells of each line that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise _bad(name, reader.line_num, str(error)) from error


def _without_end(cells: list[str]) -> list[str]:
    """``cells`` without the empty ones behind the last; one in the middle stays, and is no number."""
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return cells[:end]


def _number(cell: str, what: str, last: int, name: str, line: int) -> int:
    # Twenty digits are the longest of 64 bits; more are not worth converting.
    if cell.isascii() and cell.isdigit() and len(cell) <= 20 and 1 <= int(cell) <= last:
        return int(cell)
    raise _bad(name, line, f"{cell[:40]!r} is no {what}, which is a whole number from 1 to {last}")


def _once(seen: dict[int, int], number: int, what: str, name: str, line: int) -> int:
    if number in seen:
        raise _bad(name, line, f"{what} {number} is in line {seen[number]} already")
    seen[number] = line
    return number


def _bad(name: str, line: int, why: str) -> BadInput:
    return BadInput(f"cannot use {name} line {line}: {why}", path=name, line=line)
