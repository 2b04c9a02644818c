"""Volumes and snapshots of a true svcmgrd, as an operator and as an ordinary user sees them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from svcmgr.proc.mounts import mounted_at
from tests.kit.rootdir import Root, until

#: Run as a user who owns nothing and may nothing, without any capability.
AS_A_USER = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
USS = "features.uss"


def volume(root: Root, *args: str, code: int | None = 0) -> Any:
    """``svcmgr volume ... --json``, parsed."""
    return json.loads(root.cli("volume", *args, "--json", code=code).stdout)


def snapshot(root: Root, *args: str, code: int | None = 0) -> Any:
    """``svcmgr snapshot ... --json``, parsed."""
    return json.loads(root.cli("snapshot", *args, "--json", code=code).stdout)


@contextmanager
def open_place() -> Iterator[Path]:
    """A directory that every user may enter; pytest's own are for their owner alone."""
    place = Path(tempfile.mkdtemp(prefix="svcmgr-view-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


def as_user(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` as an unprivileged user."""
    return subprocess.run([*AS_A_USER, *argv], capture_output=True, text=True, timeout=30, cwd="/", check=False)


def read_as_user(path: Path) -> str | None:
    """The content of ``path`` as an unprivileged user reads it, or None when he cannot."""
    done = as_user("cat", "--", os.fspath(path))
    return done.stdout if done.returncode == 0 else None


def serving(root: Root, name: str) -> int:
    """Wait until snapd of volume ``name`` is online and its view mounted; its pid."""
    pid = root.running(f"snapd@{name}")
    until(lambda: (found := mounted_at(view_of(root, name))) is not None and found.ours, f"the view of {name}")
    return pid


def view_of(root: Root, name: str) -> Path:
    """Where the view of volume ``name`` is mounted."""
    (found,) = volume(root, "get", name, "features.snapshot-mount")["options"]
    return Path(found["value"] or root.layout.run / "snaps" / name)


def started(root: Root, name: str, brick: Path, mount: Path | None = None) -> int:
    """A started volume whose snapshots are served at ``mount``; the pid of its snapd."""
    volume(root, "create", name, str(brick))
    if mount is not None:
        volume(root, "set", name, "features.snapshot-mount", str(mount))
    volume(root, "set", name, USS, "on")
    volume(root, "start", name)
    return serving(root, name)


def asked(root: Root, name: str) -> int:
    """How often the volfile of volume ``name`` was asked for."""
    facts = root.call("volfile-facts")
    return sum(ask["count"] for ask in facts["asks"] if ask["id"] == f"snapd/{name}")
