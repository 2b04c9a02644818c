"""A daemon whose faults are chosen on its command line; run by the tests of daemonkit as a true process."""

import argparse
import asyncio
import contextlib
import logging
import os
import time

import msgspec

from svcmgr.errors import BadInput
from svcmgr.services.daemonkit import Access, Daemon, Verb, Worker


class Echo(msgspec.Struct):
    text: str
    times: int = 1


class Oddd(Daemon):
    """Logs each step of its life, so that tests can see the order."""

    name = "oddd"
    volfile = None

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--fault", default="")
        parser.add_argument("--worker-s", type=float, default=3600.0)

    def step(self, text):
        self.context.log.info("step %s", text)

    async def configure(self, volfile):
        if self.context.flags.fault == "configure" or (volfile and "bad" in volfile.text):
            raise BadInput("cannot like this volfile")
        self.volfile = volfile
        self.step(f"configure {volfile.text.strip() if volfile else None}")

    @contextlib.asynccontextmanager
    async def resources(self):
        fault = self.context.flags.fault
        self.step("open outer")
        try:
            if fault == "open":
                raise FileNotFoundError(2, "No such file or directory", "/no/such/device")
            if fault == "open-bug":
                raise KeyError("zone")
            if fault == "open-slow":
                await asyncio.sleep(3600)
            async with asyncio.TaskGroup() as group:
                self.step("open inner")
                if fault == "crash":
                    group.create_task(self._crash())
                yield
                self.step("close inner")
        finally:
            self.step("close outer")

    async def _crash(self):
        await asyncio.sleep(0.1)
        raise RuntimeError("a bug in a task of the daemon")

    def verbs(self):
        table = {
            "echo": Verb(lambda request, ctx: request.text * request.times, Access.READ, Echo),
            "block": Verb(self._block, Access.ADMIN),
            "bug": Verb(self._bug, Access.READ),
            "environ": Verb(lambda request, ctx: dict(os.environ), Access.READ),
            "volfile": Verb(lambda request, ctx: self.volfile and self.volfile.text, Access.READ),
            "slow": Verb(self._slow, Access.READ),
            "leave": Verb(lambda request, ctx: self.context.stop("asked by itself"), Access.ADMIN),
            "status": Verb(lambda request, ctx: self.context.notify(status="busy\nREADY=1"), Access.ADMIN),
        }
        if self.context.flags.fault == "hides":
            table["terminate"] = table["bug"]
        return table

    def workers(self):
        if self.context.flags.fault == "twins":
            return [Worker("twin", self._work, lambda: 1.0)] * 2
        return [Worker("work", self._work, lambda: self.context.flags.worker_s)]

    async def _work(self):
        if self.context.flags.fault == "worker":
            raise BadInput("cannot work")

    def statistics(self):
        if self.context.flags.fault == "statistics":
            raise RuntimeError("a bug in statistics")
        return {"path": logging.__file__, "odd": {1, 3}}

    def access(self, peer):
        return None if self.context.flags.fault == "access" else super().access(peer)

    async def _block(self, request, ctx):
        time.sleep(1.0)  # noqa: ASYNC251 - a blocked loop is what it is for

    async def _slow(self, request, ctx):
        self.step("slow begins")
        try:
            await asyncio.sleep(3600)
        finally:
            self.step("slow ends")

    def _bug(self, request, ctx):
        raise RuntimeError("a bug in a handler")
