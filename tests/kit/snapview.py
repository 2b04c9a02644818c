"""A view in a process of its own, so that tests can look at its mount, and kill it.

The process takes one JSON command a line and answers each with the facts of its view.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from svcmgr.proc.mounts import mounted_at
from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.view import View, filesystem, protocol
from tests.kit.daemonproc import ROOT, until


async def _serve(mount: Path, settings: dict[str, int]) -> None:
    if settings.get("through_us"):
        protocol._WANTED &= ~protocol._PASSTHROUGH
    if user := settings.get("user"):
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    filesystem.CROWDED = settings.get("crowded", filesystem.CROWDED)
    view = View(mount, False, logging.getLogger("view"), volume="testing")
    await view.open()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        if "publish" in command:
            shown = [Exposed(name, id, made, tuple(map(Path, roots))) for name, id, made, roots in command["publish"]]
            view.publish(tuple(shown))
        if "hide_dot" in command:
            view.hide_dot = command["hide_dot"]
        facts = {**msgspec.to_builtins(view.facts()), "nodes": len(view._carrier.files._inodes)}
        print(json.dumps(facts), flush=True)
    await view.aclose()
    await view.aclose()


class ViewProc:
    """``mount`` shows what was published last. Leaving the context leaves no process and no mount."""

    def __init__(self, mount: Path, **settings: int) -> None:
        self.mount = mount
        self.argv = [sys.executable, "-m", __name__, str(mount), json.dumps(settings)]

    def __enter__(self) -> ViewProc:
        self.errors = open(f"{self.mount}.log", "w+")
        self.process = subprocess.Popen(
            self.argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self.errors.close()
        while mounted_at(self.mount) is not None:
            subprocess.run(["umount", "-l", self.mount], check=True)

    def log(self) -> str:
        return Path(self.errors.name).read_text()

    def ask(self, **command: object) -> dict[str, object]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.log()
        return dict(json.loads(answer))

    def publish(self, *snapshots: tuple[str, object]) -> dict[str, object]:
        """Each is (name, root) or (name, [roots]); the id is made from the name."""
        rows = [
            (name, f"id-{name}", 1e9 + n, [str(p) for p in (roots if isinstance(roots, list) else [roots])])
            for n, (name, roots) in enumerate(snapshots)
        ]
        facts = self.ask(publish=rows)
        assert facts["state"] == "mounted", self.log()
        return facts

    def mounted(self) -> None:
        until(lambda: self.ask()["state"] == "mounted", "the mount")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    asyncio.run(_serve(Path(sys.argv[1]), json.loads(sys.argv[2])))
