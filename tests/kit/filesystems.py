"""True file systems for tests, in sparse files on loop devices; gone again after the test, whatever happened in it."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

MKFS = {
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
    "ext4": ("mkfs.ext4", "-q", "-F"),
}
#: What the tools make at least: btrfs 109 MiB, xfs 300 MiB.
SIZE = 512 << 20


def run(*argv):
    """Run a program; its output. A failure has what it said."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


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
            yield mount
        finally:
            run("umount", "--recursive", mount)
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
