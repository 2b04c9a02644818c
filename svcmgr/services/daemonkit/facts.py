"""``statistics``: one mapping of sections, the same for the verb and for the SIGUSR1 dump."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from svcmgr import __version__
from svcmgr.clock import Clock, rfc3339


class Facts:
    """Collects sections from whoever has something to say. A section is a callable that answers any mapping."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._started_utc = clock.utc()
        self._started = clock.monotonic()
        self._sections: dict[str, Callable[[], Any]] = {"daemon": self._daemon}

    def add(self, section: str, facts: Callable[[], Any]) -> None:
        self._sections[section] = facts

    def _daemon(self) -> Mapping[str, Any]:
        return {
            "name": self._name,
            "pid": os.getpid(),
            "version": __version__,
            "started": self._started_utc,
            "uptime_s": round(self._clock.monotonic() - self._started, 3),
        }

    def collect(self) -> dict[str, Any]:
        """All sections as plain values that any encoder takes."""
        return {section: msgspec.to_builtins(facts(), enc_hook=str) for section, facts in self._sections.items()}

    def lines(self) -> list[str]:
        """All sections as JSON, one line each."""
        at = rfc3339(self._clock.utc())
        return [
            msgspec.json.encode({"at": at, "statistics": self._name, "section": section, "facts": facts}).decode()
            for section, facts in self.collect().items()
        ]
