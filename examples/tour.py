"""The tour: three real services under svcmgrd, one killed, svcmgrd itself killed, and what is left to try.

    make run        or        python examples/tour.py [DIR]

Everything lives below DIR (./demo by default), which is emptied first. The services go on when the tour ends.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else "demo").absolute()
SVCMGR = [sys.executable, "-m", "svcmgr.cli", "--root", str(ROOT)]
INSTALLED = Path(sys.executable).with_name("svcmgr")
# As it can be typed where the tour was started.
PROGRAM = os.path.relpath(INSTALLED) if INSTALLED.is_relative_to(Path.cwd()) else "svcmgr"
SHOWN = f"{PROGRAM} --root " + (os.path.relpath(ROOT) if ROOT.is_relative_to(Path.cwd()) else str(ROOT))


def say(text: str) -> None:
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def svcmgr(*args: str, check: bool = True) -> None:
    """Run a command as a user would, and show it."""
    print("$", SHOWN, shlex.join(args), flush=True)
    subprocess.run([*SVCMGR, *args], check=check)


def facts(name: str) -> dict[str, Any]:
    done = subprocess.run([*SVCMGR, "status", "--json", name], capture_output=True, text=True, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    return document["services"][0] if document["services"] else {}


def wait_for(name: str, old: int) -> float:
    """Seconds until ``name`` is online under another pid than ``old``."""
    began = time.monotonic()
    while time.monotonic() - began < 20:
        now = facts(name)
        if now.get("status") == "online" and now.get("pid") != old:
            return time.monotonic() - began
        time.sleep(0.05)
    raise SystemExit(f"{name} did not come back; look at: {SHOWN} logs {name}")


def prepare() -> None:
    for program in ("redis-server", "redis-cli"):
        if shutil.which(program) is None:
            raise SystemExit(
                f"cannot run the tour: {program} is missing; `make run` installs it (Debian: redis-server)"
            )
    if (ROOT / "run").exists():
        subprocess.run([*SVCMGR, "shutdown", "--all"], capture_output=True, check=False)
    if ROOT.exists():
        shutil.rmtree(ROOT)
    ROOT.mkdir(parents=True)


def define() -> None:
    sock = f"/tmp/svcmgr-tour-{os.getuid()}.redis" if len(str(ROOT)) > 80 else f"{ROOT}/redis.sock"
    redis = [shutil.which("redis-server") or "", "--port", "0", "--unixsocket", sock, "--dir", str(ROOT), "--save", ""]
    say("redis-server as a service: any program at all; ready when its socket accepts connections")
    svcmgr("add", "cache", "--start", "--ready", f"unix:{sock}", "--", *redis)
    say("a Python daemon written with daemonkit (examples/clockd.py): svcmgr talks to it")
    clock = [sys.executable, "-m", "svcmgr.services", "examples.clockd:Clockd"]
    svcmgr("add", "clock", "--start", "--kind", "daemon", "--env", f"PYTHONPATH={HERE.parent}", "--", *clock)
    say("a service that requires redis: started after it, stopped before it")
    count = f"while redis-cli -s {sock} incr visits; do sleep 1; done"
    svcmgr("add", "visits", "--start", "--requires", "cache", "--", "/bin/sh", "-c", count)


def main() -> None:
    prepare()
    say("start svcmgrd in the background")
    svcmgr("up")
    define()
    svcmgr("status", "cache", "clock", "visits")
    say("kill -9 redis: svcmgrd sees it at once and starts another")
    old = facts("cache")["pid"]
    os.kill(old, signal.SIGKILL)
    print(f"back after {wait_for('cache', old):.2f} s")
    svcmgr("events", "cache")
    say("kill -9 svcmgrd: no service notices, and the next svcmgrd adopts all of them")
    before = {name: facts(name)["pid"] for name in ("cache", "clock", "visits")}
    hello = subprocess.run([*SVCMGR, "status", "--json"], capture_output=True, text=True, check=True)
    os.kill(json.loads(hello.stdout)["svcmgrd"]["pid"], signal.SIGKILL)
    svcmgr("status", check=False)
    svcmgr("up")
    svcmgr("status")
    after = {name: facts(name)["pid"] for name in before}
    print("same pids" if after == before else f"pids changed: {before} -> {after}")
    say("now try")
    for line in ("status", "logs -f visits", "stop cache", "start visits", "show clock", "events -f", "doctor"):
        print(f"  {SHOWN} {line}")
    print(f"  {SHOWN} shutdown --all      ends everything the tour started")


if __name__ == "__main__":
    main()
