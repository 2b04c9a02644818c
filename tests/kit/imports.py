"""A package as its source says it is: modules, every import in them, and the graphs these make.

Nothing is imported or run here; all is read from the syntax tree. Lazy imports (inside functions) and imports under
``if TYPE_CHECKING`` count like any other: who needs a name of another room knows that room, whenever it is loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs


@attrs.frozen
class Import:
    """One imported module, as far as the source tells: ``from a.b import c`` is ``a.b.c`` if that is a module."""

    target: str
    line: int


@attrs.frozen
class Module:
    """One source file."""

    name: str
    path: Path
    source: str = attrs.field(repr=False)
    tree: ast.Module = attrs.field(repr=False, eq=False)
    imports: tuple[Import, ...] = attrs.field(repr=False)

    @property
    def is_door(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def lines(self) -> int:
        return self.source.count("\n")


@attrs.frozen
class Package:
    """All modules of one top-level package, by dotted name."""

    name: str
    modules: Mapping[str, Module]

    def edges(self, name: str) -> list[Import]:
        """The imports of module ``name`` that stay inside the package."""
        return [i for i in self.modules[name].imports if i.target in self.modules and i.target != name]

    def foreign(self, name: str) -> list[Import]:
        """The imports of module ``name`` that leave the package."""
        return [i for i in self.modules[name].imports if not within(i.target, self.name)]

    def dangling(self, name: str) -> list[Import]:
        """Imports from this package of something that is not there."""
        return [i for i in self.modules[name].imports if within(i.target, self.name) and i.target not in self.modules]

    def loaded_by(self, *roots: str) -> set[str]:
        """Every module that importing ``roots`` can load, with the doors that Python opens on the way."""
        seen: set[str] = set()
        todo = [name for root in roots for name in self._with_doors(root)]
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += [door for edge in self.edges(name) for door in self._with_doors(edge.target)]
        return seen

    def way(self, root: str, goal: str) -> list[str]:
        """A shortest chain of imports from ``root`` to ``goal``, for messages."""
        chains = [[root]]
        seen = {root}
        for chain in chains:
            if chain[-1] == goal:
                return chain
            for edge in self.edges(chain[-1]):
                for name in self._with_doors(edge.target):
                    if name not in seen:
                        seen.add(name)
                        chains.append([*chain, name])
        return []

    def cycles(self) -> list[list[str]]:
        """Groups of modules that import each other in a circle. A door that Python opens by itself is no edge."""
        graph = {name: sorted({edge.target for edge in self.edges(name)}) for name in self.modules}
        return [sorted(group) for group in _components(graph) if len(group) > 1]

    def _with_doors(self, name: str) -> Iterator[str]:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            prefix = ".".join(parts[:length])
            if prefix in self.modules:
                yield prefix


def read_package(directory: Path) -> Package:
    """Read every ``*.py`` below ``directory``, whose name is the package's."""
    files = {_dotted(path, directory): path for path in sorted(directory.rglob("*.py"))}
    modules = {}
    for name, path in files.items():
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, filename=str(path))
        imports = tuple(_imports(tree, name, path.name == "__init__.py", files))
        modules[name] = Module(name, path, source, tree, imports)
    return Package(directory.name, modules)


def within(name: str, prefix: str) -> bool:
    """Whether dotted ``name`` is ``prefix`` or below it."""
    return name == prefix or name.startswith(prefix + ".")


def _dotted(path: Path, directory: Path) -> str:
    parts = [directory.name, *path.relative_to(directory).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module, name: str, is_door: bool, files: Mapping[str, Path]) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, name, is_door)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(full if full in files else base, node.lineno)


def _base(node: ast.ImportFrom, name: str, is_door: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    kept = parts[: len(parts) - node.level + (1 if is_door else 0)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _components(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan 1972), without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for start in graph:
        work = [] if start in index else [(start, iter(graph[start]))]
        while work:
            name, rest = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                stack.append(name)
            following = next((other for other in rest), None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = stack.index(name)
                    found.append(stack[at:])
                    del stack[at:]
            elif following not in index:
                work.append((following, iter(graph[following])))
            elif following in stack:
                low[name] = min(low[name], index[following])
    return found
