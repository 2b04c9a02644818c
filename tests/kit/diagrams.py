"""Diagrams of the machines, drawn from their tables: ``python -m tests.kit.diagrams --write`` (or without: compare).

A machine is a module-level ``TABLE``. Its diagram is ``docs/machines/NAME.dot``, NAME being the table's own name;
``dot -Tsvg`` makes a picture of it.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from svcmgr.fsm import Table
from tests.kit.imports import Package, read_package

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "docs" / "machines"


def tables_named(package: Package) -> Iterator[tuple[str, str, int]]:
    """(module, variable, line) of every module-level ``X = Table(...)``."""
    for module in package.modules.values():
        for node in module.tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "Table":
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target  # type: ignore[union-attr]
                yield module.name, ast.unparse(target), node.lineno


def machines(package: Package) -> dict[str, str]:
    """The Graphviz text of every machine, by file name."""
    drawn: dict[str, str] = {}
    for module, variable, _ in tables_named(package):
        table = getattr(importlib.import_module(module), variable)
        assert isinstance(table, Table)
        file = f"{table.name}.dot"
        assert file not in drawn, f"two machines are called {table.name}"
        drawn[file] = table.to_dot()
    return drawn


def stale(drawn: dict[str, str], directory: Path) -> list[str]:
    """What differs between ``drawn`` and the files: missing, changed, or without a machine."""
    there = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.dot")}
    return sorted(name for name in {*drawn, *there} if drawn.get(name) != there.get(name))


def write(drawn: dict[str, str], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in stale(drawn, directory):
        path = directory / name
        if name in drawn:
            path.write_text(drawn[name], encoding="utf-8")
        else:
            path.unlink()


def main() -> int:
    drawn = machines(read_package(ROOT / "svcmgr"))
    if "--write" in sys.argv[1:]:
        write(drawn, DIRECTORY)
    differing = stale(drawn, DIRECTORY)
    for name in differing:
        print(f"not fresh: {DIRECTORY / name}", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
