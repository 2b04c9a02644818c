"""True file systems for tests, in sparse files on loop devices; gone again after the test, whatever happened in it."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest

MKFS = {
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
    "ext4": ("mkfs.ext4", "-q", "-F"),
}
#: What the tools make at least: btrfs 109 MiB, xfs 300 MiB.
SIZE = 512 << 20
#: What an unmount may take while the last processes that use it end, seconds.
PATIENCE_S = 15.0
_ENVIRON = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


def run(*argv):
    """Run a program; its output. A failure has what it said."""
    done = attempt(*argv)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def attempt(*argv):
    """Run a program, whatever comes of it."""
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, env=_ENVIRON, check=False)


def unmount(mount):
    """Unmount as soon as nobody uses it any more; by force, and with a failure, after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while (done := attempt("umount", "--recursive", mount)).returncode:
        if time.monotonic() > end:
            attempt("umount", "--recursive", "--lazy", mount)
            raise AssertionError(f"{mount} is still in use: {done.stderr}")
        time.sleep(0.05)


@contextlib.contextmanager
def mounted(kind, where, size=SIZE):
    """A new file system of this kind, mounted at the directory that is given; ``where`` holds its image."""
    where = Path(where)
    image, mount = where / f"{kind}.img", where / kind
    mount.mkdir(parents=True)
    with open(image, "wb") as file:
        os.truncate(file.fileno(), size)
    run(*MKFS[kind], image)
    device = run("losetup", "--find", "--show", image).strip()
    try:
        run("mount", device, mount)
        try:
            mount.chmod(0o755)
            yield mount
        finally:
            unmount(mount)
    finally:
        run("losetup", "--detach", device)
        image.unlink()


def brick_on(kind, mount, name="brick"):
    """A brick there: a subvolume where the file system has such a thing."""
    brick = mount / name
    if kind == "btrfs":
        run("btrfs", "subvolume", "create", brick)
    else:
        brick.mkdir()
    return brick


@pytest.fixture(params=list(MKFS))
def filesystem(request, tmp_path):
    """(kind, mount point) for each kind."""
    with mounted(request.param, tmp_path) as mount:
        yield request.param, mount
