"""What can be said about a root without its svcmgrd: from the ledger, the intent, and the pidfile locks.

This is the one door of the host that the command line opens, and only when no svcmgrd answers, or to read logs. It
reads and never writes, and it believes a recorded pid only if that very process still lives.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

import svcmgr.proc.logread as logread
from svcmgr.errors import BadInput, PidfileUnusable, SvcmgrError, UnknownService
from svcmgr.fsutil import read_limited
from svcmgr.host import wire
from svcmgr.host.facts import FILE_LIMIT, Fact, Intent, read_facts
from svcmgr.paths import RESERVED, Layout, check_key
from svcmgr.proc import procfs
from svcmgr.proc.pidfile import owner


def status(layout: Layout) -> list[wire.ServiceRow]:
    """One row per known service: alive if its recorded process, or the holder of its pidfile lock, lives."""
    intent = _intent(layout)
    facts = _facts(layout)
    names = sorted({*facts, *intent.goals, *(p.stem for p in layout.definitions.glob("*.toml"))})
    return [_row(layout, name, intent, facts.get(name, Fact(name))) for name in names]


def _intent(layout: Layout) -> Intent:
    try:
        return msgspec.json.decode(read_limited(layout.state / "intent.json", FILE_LIMIT), type=Intent)
    except (OSError, BadInput, msgspec.MsgspecError, UnicodeDecodeError):
        return Intent()


def _facts(layout: Layout) -> dict[str, Fact]:
    try:
        return read_facts(layout.state / "ledger.jsonl").facts
    except SvcmgrError:
        return {}


def _defined(layout: Layout, name: str) -> dict[str, object]:
    """The definition as it stands, as far as it can be read: it is svcmgrd that checks it."""
    import tomllib

    try:
        return tomllib.loads(read_limited(layout.definitions / f"{name}.toml", FILE_LIMIT).decode())
    except (OSError, BadInput, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}


def _row(layout: Layout, name: str, intent: Intent, fact: Fact) -> wire.ServiceRow:
    pid = _living(layout, name, fact)
    defined = _defined(layout, name)
    last = None
    if fact.exit_at:
        last = wire.Exit(fact.exit_at, fact.exit_code, None, fact.exit_core, fact.exit_uptime, fact.exit_tail)
        if fact.exit_signal is not None:
            last = msgspec.structs.replace(last, signal=_signal_name(fact.exit_signal))
    return wire.ServiceRow(
        name=name,
        kind=str(defined.get("kind") or fact.kind or "command"),
        goal=intent.goals.get(name, "down"),
        state="running" if pid else "down",
        status="unsupervised" if pid else "down",
        since=fact.at if pid else fact.exit_at,
        instance=name.partition("@")[2] or None,
        enabled=intent.enabled.get(name, bool(defined.get("enabled", True))),
        pid=pid,
        started=fact.mono if pid and pid == fact.pid else None,
        restarts=fact.restarts,
        reason="svcmgrd is down; nobody restarts it" if pid else fact.reason,
        last_exit=last,
        pidfile=str(layout.service_pidfile(name)),
        log=str(layout.service_log(name)),
    )


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _living(layout: Layout, name: str, fact: Fact) -> int | None:
    try:
        holder = owner(layout.service_pidfile(name))
    except PidfileUnusable:
        holder = None
    if holder:
        return holder
    if not fact.pid or fact.boot_id != procfs.boot_id():
        return None
    found = procfs.stat(fact.pid)
    return fact.pid if found is not None and not found.dead and found.start_ticks == fact.ticks else None


def log_tail(layout: Layout, names: list[str], lines: int) -> dict[str, bytes]:
    """The last ``lines`` lines of each service's log. Raises UnknownService when one has no log."""
    return {name: logread.tail(_log(layout, name), lines) for name in names}


def follow(layout: Layout, names: list[str], lines: int) -> Iterator[tuple[str, bytes]]:
    """The last ``lines`` lines of each log and what is written from then on, for ever; right across rotation."""
    paths = {_log(layout, name): name for name in names}
    yield from ((paths[path], data) for path, data in logread.follow(paths, lines=lines))


def _log(layout: Layout, name: str) -> str:
    if name != RESERVED:
        check_key(name)
    path = layout.daemon_log if name == RESERVED else layout.service_log(name)
    if not path.exists():
        raise UnknownService(f"cannot read the log of {name!r}: there is no {path}", name=name)
    return str(path)
