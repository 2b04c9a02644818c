"""True file systems of the test's own: made in a sparse file, loop-mounted, and gone afterwards whatever happened."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

#: How each one is made. xfs refuses less than 300 MiB.
MAKERS = {
    "btrfs": ["mkfs.btrfs", "-q"],
    "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
    "ext4": ["mkfs.ext4", "-q", "-F"],
}
#: What an unmount may take while the last processes that use it end, seconds.
PATIENCE_S = 15.0


@contextlib.contextmanager
def mounted(kind: str, place: Path, size: int = 512 << 20) -> Iterator[Path]:
    """A new file system of ``kind`` on a directory of ``place``; ``size`` in bytes, of which hardly any are used."""
    image, where = place / f"{kind}.img", place / f"{kind}.mnt"
    with open(image, "wb") as file:
        file.truncate(size)
    environ = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    _run([*MAKERS[kind], str(image)], environ)
    where.mkdir()
    _run(["mount", "-o", "loop", str(image), str(where)], environ)
    try:
        where.chmod(0o755)
        yield where
    finally:
        _unmount(where, environ)
        image.unlink()


def _unmount(where: Path, environ: dict[str, str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while (done := _try(["umount", str(where)], environ)).returncode:
        if time.monotonic() > end:
            _try(["umount", "-l", str(where)], environ)
            raise AssertionError(f"{where} is still in use: {done.stderr}")
        time.sleep(0.05)


def _try(argv: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, env=environ, check=False)


def _run(argv: list[str], environ: dict[str, str]) -> None:
    done = _try(argv, environ)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
