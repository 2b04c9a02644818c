"""clockd: a daemon that knows what time it is. The smallest daemon that uses all of daemonkit.

    python examples/clockd.py -p /tmp/clockd.pid -S /tmp/clockd.sock
    python -m svcmgr.services examples.clockd:Clockd -S /tmp/clockd.sock --journal /tmp/clockd.journal

It serves the time in a format that an administrator may change, publishes a tick to whoever subscribes, and keeps a
journal of the formats it was given. A volfile, if it is started with one, is TOML with ``format`` and ``tick_s``.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from svcmgr.errors import BadInput
from svcmgr.fsutil import write_all
from svcmgr.services.daemonkit import Access, CallContext, Context, Daemon, Verb, Volfile, Worker, run


class Settings(msgspec.Struct, frozen=True):
    """The volfile. ``tick_s`` is seconds between two ticks."""

    format: str = "%Y-%m-%dT%H:%M:%SZ"
    tick_s: float = 1.0


class SetFormat(msgspec.Struct, frozen=True):
    """``format`` is strftime(3)'s."""

    format: str


class Clockd(Daemon):
    """Tells the time, in UTC."""

    name = "clockd"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._settings = Settings()
        self._ticks = 0
        self._journal = -1

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--journal", type=Path, default=Path(os.devnull), help="where formats are written down")

    async def configure(self, volfile: Volfile | None) -> None:
        if volfile is not None:
            self._settings = read_settings(volfile.text)

    @contextlib.asynccontextmanager
    async def resources(self) -> AsyncIterator[None]:
        self._journal = os.open(self.context.flags.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        try:
            yield
        finally:
            write_all(self._journal, b"closed\n")
            os.close(self._journal)

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "time": Verb(lambda request, ctx: self._now(), Access.READ),
            "watch": Verb(lambda request, ctx: ctx.subscribe("tick"), Access.READ),
            "set-format": Verb(self._set_format, Access.ADMIN, SetFormat),
        }

    def workers(self) -> list[Worker]:
        return [Worker("tick", self._tick, lambda: self._settings.tick_s)]

    def statistics(self) -> Mapping[str, Any]:
        return {"ticks": self._ticks, "format": self._settings.format}

    def _now(self) -> str:
        now = datetime.datetime.fromtimestamp(self.context.clock.utc(), tz=datetime.UTC)
        return now.strftime(self._settings.format)

    async def _set_format(self, request: SetFormat, ctx: CallContext) -> str:
        self._settings = msgspec.structs.replace(self._settings, format=request.format)
        write_all(self._journal, f"format {request.format!r}\n".encode())
        return self._now()

    async def _tick(self) -> None:
        self._ticks += 1
        self.context.publish("tick", self._now())


def read_settings(text: str) -> Settings:
    """``text`` as Settings. Raises BadInput with the line or the field that is wrong."""
    try:
        return msgspec.convert(tomllib.loads(text), Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"cannot read the volfile of clockd: {error}") from error


if __name__ == "__main__":
    sys.exit(run(Clockd))
