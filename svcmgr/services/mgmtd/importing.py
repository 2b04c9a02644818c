"""Bring an export into a store: ``python -m svcmgr.services.mgmtd.importing STORE EXPORT [--replace]``.

A program of its own, because no mgmtd should run on the store meanwhile: until it next asks for its lease, it answers
from memory, which is another cluster. The export is checked to its end before the store is touched. Exit codes are
those of svcmgr's commands.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from svcmgr.clock import SystemClock
from svcmgr.errors import EXIT_OK, SvcmgrError
from svcmgr.services.mgmtd.store import SqliteStore, dump, exportfile
from svcmgr.services.mgmtd.store.restore import restore, with_lease_released


async def bring(store_path: Path, export: Path, *, replace: bool) -> int:
    """Import; how many records. Raises what reading, opening and :func:`restore` raise."""
    with exportfile.opened(export) as lines:
        found = dump.read(lines)
    store = await SqliteStore.open(store_path)
    try:
        found = await with_lease_released(store, found)
        await restore(store, found, replace=replace, utc=SystemClock().utc())
    finally:
        await store.aclose()
    return len(found.puts)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m svcmgr.services.mgmtd.importing",
        description="Import a cluster that `svcmgr mgmtd export` wrote. Stop mgmtd first.",
        epilog="example: python3 -m svcmgr.services.mgmtd.importing /var/lib/svcmgr/mgmtd/mgmtd.db cluster.jsonl",
    )
    parser.add_argument("store", type=Path, help="file of the SQLite store; it is made if there is none")
    parser.add_argument("export", type=Path, help="what was exported")
    parser.add_argument("--replace", action="store_true", help="remove what the store holds")
    asked = parser.parse_args(argv)
    try:
        count = asyncio.run(bring(asked.store, asked.export, replace=asked.replace))
    except SvcmgrError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    sys.stdout.write(f"{count} records imported into {asked.store}\n")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
