"""The shapes of svcmgrd's own files, and reading the ledger; what a svcmgrd and a look at a dead one's root share."""

from __future__ import annotations

from pathlib import Path

import msgspec

from svcmgr.errors import BadInput, StorageFailed
from svcmgr.fsutil import read_limited

#: No file of ours is larger; a larger one is not ours.
FILE_LIMIT = 64 * 1024 * 1024


class Intent(msgspec.Struct):
    """Goals by service ("up"/"down"), and enabled marks that override the definition's."""

    boot_id: str = ""
    goals: dict[str, str] = {}
    enabled: dict[str, bool] = {}


class Fact(msgspec.Struct, omit_defaults=True):
    """One ledger line: the whole of what is remembered of one service's processes.

    ``at`` and ``exit_at`` are UTC seconds, ``mono`` is CLOCK_MONOTONIC at the spawn. ``pid`` 0: no process. ``settled``
    is "down" or "failed" when it had come to rest by itself while its goal was UP, and ``reason`` says why.
    """

    key: str
    kind: str = ""
    incarnation: int = 0
    pid: int = 0
    ticks: int = 0
    boot_id: str = ""
    digest: str = ""
    ready: bool = False
    settled: str = ""
    reason: str = ""
    at: float = 0.0
    mono: float = 0.0
    restarts: int = 0
    exit_at: float = 0.0
    exit_code: int | None = None
    exit_signal: int | None = None
    exit_core: bool = False
    exit_uptime: float = 0.0
    exit_tail: str = ""


class Life(msgspec.Struct):
    """The ledger's first line: the how-manieth svcmgrd of this root wrote it."""

    generation: int


class Facts(msgspec.Struct):
    """What a ledger says. ``skipped`` counts lines that could not be read."""

    facts: dict[str, Fact] = {}
    generation: int = 0
    skipped: int = 0


def read_facts(path: Path) -> Facts:
    """Fold the ledger at ``path``; one that is not there is empty. Raises StorageFailed on a bad file."""
    result = Facts({})
    try:
        data = read_limited(path, FILE_LIMIT)
    except FileNotFoundError:
        return result
    except (OSError, BadInput) as error:
        raise StorageFailed(f"cannot read the ledger {path}: {error}") from error
    decode = msgspec.json.Decoder(dict[str, object]).decode
    for line in filter(None, data.split(b"\n")):
        try:
            _take(result, decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            result.skipped += 1
    return result


def _take(result: Facts, line: dict[str, object]) -> None:
    if "generation" in line:
        result.generation = max(result.generation, msgspec.convert(line, Life).generation)
    else:
        fact = msgspec.convert(line, Fact)
        result.facts[fact.key] = fact
