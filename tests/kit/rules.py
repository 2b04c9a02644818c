"""The rules of a house, as functions from a package to the breaches in it.

A breach is one line, ``file:line: what is wrong``; no breach is an empty list. The numbers and tables that the rules
are given are the house's own; see ``tests/test_architecture.py``.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import attrs

from tests.kit.diagrams import tables_named
from tests.kit.imports import Module, Package, within

Function = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen
class Room:
    """What one room may import: rooms or single modules of the package, and third-party packages."""

    may: frozenset[str]
    third: frozenset[str]


def words(text: str, prefix: str = "") -> frozenset[str]:
    """The words of ``text``, each after ``prefix``."""
    return frozenset(prefix + word for word in text.split())


def room(may: str = "", third: str = "") -> Room:
    """A room from two lists of words."""
    return Room(words(may), words(third))


def unknown_rooms(package: Package, room_of: Callable[[str], str], rooms: Mapping[str, Room]) -> list[str]:
    """Modules that are in no room of the plan."""
    return [
        f"{_at(module)}: is in no room of the house (room_of says {room_of(name)!r})"
        for name, module in package.modules.items()
        if room_of(name) not in rooms
    ]


def leaks(package: Package, room_of: Callable[[str], str], rooms: Mapping[str, Room]) -> list[str]:
    """Imports of a room that the importing room may not know."""
    found = []
    for name, module in package.modules.items():
        home = room_of(name)
        for edge in package.edges(name):
            other = room_of(edge.target)
            short = edge.target.removeprefix(f"{package.name}.")
            if other != home and not rooms[home].may & {other, short}:
                found.append(f"{_at(module, edge.line)}: {home} may not import {edge.target} ({other})")
        found += [f"{_at(module, i.line)}: imports {i.target}, which is not there" for i in package.dangling(name)]
    return found


def third_party_leaks(package: Package, room_of: Callable[[str], str], rooms: Mapping[str, Room]) -> list[str]:
    """Third-party packages that the importing room may not use."""
    return [
        f"{_at(module, i.line)}: {room_of(name)} may not import {i.target}"
        for name, module in package.modules.items()
        for i in package.foreign(name)
        if _top(i.target) not in sys.stdlib_module_names and _top(i.target) not in rooms[room_of(name)].third
    ]


def escapes(package: Package, confined: Mapping[str, Collection[str]]) -> list[str]:
    """Modules from outside that are imported elsewhere than where they are confined to."""
    return [
        f"{_at(module, i.line)}: {foreign} is for {', '.join(sorted(homes)) or 'nobody'} only"
        for name, module in package.modules.items()
        for i in package.foreign(name)
        for foreign, homes in confined.items()
        if within(i.target, foreign) and not any(within(name, home) for home in homes)
    ]


def cycles(package: Package) -> list[str]:
    """Modules that import each other in a circle."""
    return [f"import cycle: {', '.join(group)}" for group in package.cycles()]


def impurities(package: Package, pure: Collection[str], forbidden: Collection[str], also: Collection[str]) -> list[str]:
    """Pure modules that import one of ``forbidden``, or from the package anything but ``pure`` or ``also``."""
    found = []
    for name in sorted(pure):
        module = package.modules[name]
        outside = [i for i in package.foreign(name) if _top(i.target) in forbidden]
        inside = [i for i in package.edges(name) if i.target not in pure and i.target not in also]
        found += [f"{_at(module, i.line)}: a pure module imports {i.target}" for i in [*outside, *inside]]
    return found


def reaches(package: Package, root: str, banned: Callable[[str], bool]) -> list[str]:
    """What importing ``root`` could load although ``banned`` says no."""
    return [
        f"importing {root} can load {name}: {' -> '.join(package.way(root, name))}"
        for name in sorted(package.loaded_by(root))
        if banned(name)
    ]


def oversized(package: Package, module_lines: int, function_lines: int, parameters: int) -> list[str]:
    """Modules, functions and constructors over their budgets."""
    found = []
    for module in package.modules.values():
        if module.lines > module_lines:
            found.append(f"{_at(module)}: {module.lines} lines, the limit is {module_lines}")
        for function in _functions(module):
            size, takes = _length(function), _parameters(function)
            if size > function_lines:
                found.append(f"{_at(module, function.lineno)}: {function.name} has {size} lines of {function_lines}")
            if function.name == "__init__" and takes > parameters:
                found.append(f"{_at(module, function.lineno)}: a constructor takes {takes} of {parameters} parameters")
    return found


def over_median(package: Package, function_lines: int, module_lines: int) -> list[str]:
    """The medians of the whole package against their budgets."""
    functions = [_length(f) for module in package.modules.values() for f in _functions(module)] or [0]
    modules = [module.lines for module in package.modules.values()] or [0]
    found = []
    if statistics.median(functions) > function_lines:
        found.append(f"the median function has {statistics.median(functions)} lines of {function_lines}")
    if statistics.median(modules) > module_lines:
        found.append(f"the median module has {statistics.median(modules)} lines of {module_lines}")
    return found


def busy_doors(package: Package, constants: Collection[str] = ()) -> list[str]:
    """Statements in an ``__init__`` that do more than re-export. ``constants`` may be defined at the very top."""
    return [
        f"{_at(module, node.lineno)}: a door only re-exports; move `{ast.unparse(node).splitlines()[0]}` into a module"
        for module in package.modules.values()
        if module.is_door
        for node in module.tree.body
        if not _of_a_door(node, constants if module.name == package.name else ())
    ]


def misnamed_tables(package: Package) -> list[str]:
    """Machines that do not go by the name TABLE, so that no diagram would be drawn."""
    return [
        f"{_at(package.modules[name], line)}: a machine's table is called TABLE, not {variable}"
        for name, variable, line in tables_named(package)
        if variable != "TABLE"
    ]


def swallowers(package: Package) -> list[str]:
    """Handlers that ``pass`` every error, or end a cancellation without raising again."""
    return [
        f"{_at(module, handler.lineno)}: swallows {ast.unparse(handler.type) if handler.type else 'all'}"
        for module in package.modules.values()
        for handler, in_coroutine in _handlers(module.tree, False)
        if _swallows(handler, in_coroutine)
    ]


def _handlers(node: ast.AST, in_coroutine: bool) -> Iterator[tuple[ast.ExceptHandler, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler):
            yield child, in_coroutine
        inside = isinstance(child, ast.AsyncFunctionDef) if isinstance(child, Function) else in_coroutine
        yield from _handlers(child, inside)


def _swallows(handler: ast.ExceptHandler, in_coroutine: bool) -> bool:
    caught = {_last(name) for name in ast.unparse(handler.type).strip("()").split(",")} if handler.type else {""}
    if "Exception" in caught and all(isinstance(node, ast.Pass) or _is_docstring(node) for node in handler.body):
        return True
    # A cancellation arrives where a coroutine waits, nowhere else.
    everything = {"", "BaseException", "CancelledError"} if in_coroutine else {"", "BaseException"}
    raises = any(isinstance(node, ast.Raise) for statement in handler.body for node in ast.walk(statement))
    return bool(caught & everything) and not raises


def _of_a_door(node: ast.stmt, constants: Collection[str]) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING" and all(_is_import(n) for n in [*node.body, *node.orelse])
    if isinstance(node, Function):
        return node.name in ("__getattr__", "__dir__")
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return all(_is_door_name(ast.unparse(target), constants) for target in targets)
    return _is_import(node) or _is_docstring(node)


def _is_door_name(name: str, constants: Collection[str]) -> bool:
    return name in constants or name.startswith("_")


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _functions(module: Module) -> Iterator[Function]:
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            yield node


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _parameters(function: Function) -> int:
    given = function.args
    counted: Iterable[ast.arg | None] = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return sum(1 for parameter in counted if parameter is not None and parameter.arg != "self")


def _last(name: str) -> str:
    return name.strip().rpartition(".")[2]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _at(module: Module, line: int = 1) -> str:
    return f"{module.path}:{line}"
