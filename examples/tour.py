"""The tour: services killed and back, svcmgrd itself killed; a volume whose snapshots users read; a small cluster.

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
DISK = ROOT / "disk"
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


def wait_for_text(text: str, *args: str) -> None:
    """Return when ``text`` is in what the command prints."""
    end = time.monotonic() + 20
    while text not in subprocess.run([*SVCMGR, *args], capture_output=True, text=True, check=False).stdout:
        if time.monotonic() > end:
            raise SystemExit(f"{text!r} did not come; look at: {SHOWN} {shlex.join(args)}")
        time.sleep(0.1)


def prepare() -> None:
    for program in ("redis-server", "redis-cli"):
        if shutil.which(program) is None:
            raise SystemExit(
                f"cannot run the tour: {program} is missing; `make run` installs it (Debian: redis-server)"
            )
    if (ROOT / "run").exists():
        subprocess.run([*SVCMGR, "shutdown", "--all"], capture_output=True, check=False)
    if os.path.ismount(DISK):
        subprocess.run(["umount", str(DISK)], check=True)
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


def make_disk() -> None:
    """A btrfs where we may mount one: snapshots are instant there. Else a directory, where they are copies."""
    DISK.mkdir()
    image = ROOT / "disk.img"
    if os.getuid() != 0 or shutil.which("mkfs.btrfs") is None:
        return
    with open(image, "wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(DISK)], check=True)


def read_as_user(path: Path) -> None:
    """Read ``path`` as somebody who owns nothing here, where we may become him."""
    become = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] if os.getuid() == 0 else []
    print("$", *(["su nobody:"] if become else []), "cat", os.path.relpath(path), flush=True)
    done = subprocess.run([*become, "cat", str(path)], check=False)
    if become and done.returncode:
        print("(user nobody may not enter a directory above; it is the directory of the tour that is closed)")
        subprocess.run(["cat", str(path)], check=True)


def volumes() -> None:
    make_disk()
    say("a volume is a directory, or several, with a name; its daemon snapd runs while snapshots are on")
    svcmgr("volume", "create", "photos", str(DISK / "photos"))
    svcmgr("volume", "set", "photos", "features.uss", "on")
    svcmgr("volume", "start", "photos")
    say("write, take a snapshot, and spoil the file")
    notes = DISK / "photos" / "notes.txt"
    notes.write_text("as it was on monday\n")
    svcmgr("snapshot", "create", "photos", "monday")
    notes.write_text("spoilt\n")
    view = ROOT / "run" / "snaps" / "photos"
    say("any user reads the old content by himself")
    read_as_user(view / "monday" / "notes.txt")
    svcmgr("snapshot", "diff", "photos", "monday")
    say("kill -9 snapd: its mount is cleaned up and comes back by itself")
    old = facts("snapd@photos")["pid"]
    os.kill(old, signal.SIGKILL)
    print(f"back after {wait_for('snapd@photos', old):.2f} s")
    read_as_user(view / "monday" / "notes.txt")
    say("bring the file back where it was; what it replaces goes into a safety snapshot")
    svcmgr("snapshot", "restore", "photos", "monday", "notes.txt", "--in-place", "--yes")
    print(notes.read_text(), end="")
    svcmgr("snapshot", "schedule", "photos", "nightly", "--every", "1d", "--keep", "daily=7,weekly=4")
    svcmgr("snapshot", "list", "photos")


def cluster() -> None:
    say("mgmtd knows the members of a cluster and who serves which replica; here with three simulated storage nodes")
    svcmgr("add", "mgmtd", "--kind", "mgmtd", "--start")
    for number in (2, 3, 4):
        svcmgr("mgmtd", "nodes", "register", str(number), "storage")
        node = [sys.executable, "-m", "svcmgr.services", "svcmgr.services.mgmtd.simnoded:SimNoded"]
        where = ["--mgmtd", facts("mgmtd")["socket"], "--node", str(number), "--targets", f"{number}01"]
        env = f"PYTHONPATH={HERE.parent}"
        quick = ["--heartbeat", "1", "--sync", "1"]
        svcmgr("add", f"node{number}", "--kind", "daemon", "--start", "--env", env, "--", *node, *where, *quick)
    svcmgr("mgmtd", "chains", "set", "1", "201", "301", "401")
    svcmgr("mgmtd", "wait", "all-serving", "--timeout", "30")
    say("a node goes: its chain serves on without it; it returns, and syncs before it serves again")
    svcmgr("stop", "node2")
    wait_for_text("(OFFLINE", "mgmtd", "chains", "list")
    svcmgr("mgmtd", "chains", "list")
    svcmgr("start", "node2")
    svcmgr("mgmtd", "wait", "all-serving", "--timeout", "30")
    svcmgr("mgmtd", "chains", "explain", "1")
    svcmgr("mgmtd", "events", "chain", "1")


def main() -> None:
    prepare()
    say("start svcmgrd in the background")
    svcmgr("up")
    define()
    svcmgr("status", "cache", "clock", "visits")
    volumes()
    cluster()
    say("kill -9 redis: svcmgrd sees it at once and starts another")
    old = facts("cache")["pid"]
    os.kill(old, signal.SIGKILL)
    print(f"back after {wait_for('cache', old):.2f} s")
    svcmgr("events", "cache")
    say("kill -9 svcmgrd: no service notices, and the next svcmgrd adopts all of them")
    before = {name: facts(name)["pid"] for name in ("cache", "clock", "visits", "snapd@photos", "mgmtd", "node2")}
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
    for line in ("volume info photos", "snapshot schedules photos", "mgmtd doctor", "mgmtd routing watch"):
        print(f"  {SHOWN} {line}")
    print(f"  {SHOWN} shutdown --all      ends everything the tour started")
    if os.path.ismount(DISK):
        print(f"  umount {os.path.relpath(DISK)}      then takes its disk away")


if __name__ == "__main__":
    main()
