"""Which kinds of service there are.

Kinds come from the entry point group ``svcmgr.services`` (so another package can add one), or are named directly
in a definition as ``module:Class``. A kind that cannot be loaded is reported with its reason and hurts no other.
Scanning the installed packages takes tens of milliseconds, so the two built-in kinds are found without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import attrs

from svcmgr.errors import UnknownKind
from svcmgr.svc.service import Service

GROUP = "svcmgr.services"


@attrs.frozen
class Kind:
    """One registered kind; ``cls`` is None when it could not be loaded, and ``error`` says why."""

    name: str
    source: str
    cls: type[Service] | None
    error: str = ""

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        return ((self.cls.__doc__ if self.cls else "") or "").strip().partition("\n")[0]


class Registry:
    """Looks kinds up by name; loads each once."""

    def __init__(self, builtin: Mapping[str, str]) -> None:
        """``builtin`` maps kind names to ``module:Class``, found without a scan."""
        self._builtin = dict(builtin)
        self._loaded: dict[str, Kind] = {}
        self._entry_points: dict[str, str] | None = None

    def find(self, name: str) -> type[Service]:
        """The class of kind ``name``. Raises UnknownKind, also when the class cannot be loaded."""
        kind = self._loaded.get(name) or self._load(name)
        if kind.cls is None:
            raise UnknownKind(f"cannot use kind {name!r}: {kind.error}", known=sorted(self._known()))
        return kind.cls

    def kinds(self) -> list[Kind]:
        """All registered kinds, loaded, by name."""
        return [self._loaded.get(name) or self._load(name) for name in sorted(self._known())]

    def _known(self) -> dict[str, str]:
        if self._entry_points is None:
            from importlib.metadata import entry_points

            self._entry_points = {e.name: e.value for e in entry_points(group=GROUP)}
        return {**self._entry_points, **self._builtin}

    def _load(self, name: str) -> Kind:
        source = self._builtin.get(name) or (name if ":" in name else self._known().get(name, ""))
        if not source:
            return Kind(name, "", None, f"no such kind; known are {', '.join(sorted(self._known()))}")
        kind = _import(name, source)
        if kind.cls is not None:
            self._loaded[name] = kind
        return kind


def _import(name: str, source: str) -> Kind:
    module, _, attribute = source.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a foreign package may fail in any way while it is imported
        return Kind(name, source, None, f"{source} cannot be imported: {type(error).__name__}: {error}")
    if not (isinstance(found, type) and issubclass(found, Service)):
        return Kind(name, source, None, f"{source} is not a subclass of svcmgr.svc.Service")
    return Kind(name, source, found)
