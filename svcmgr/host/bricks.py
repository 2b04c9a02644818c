"""The directories of volumes, as far as svcmgrd itself touches them: looked at, and made when a volume is created.

What is in them is the users' and the daemons'. A brick that is not there is made as a subvolume where the file system
has such things, since a snapshot of a subvolume is instant.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from svcmgr import btrfs
from svcmgr.errors import BadInput, NotPermitted, StorageFailed, SvcmgrError, Unsupported


def check(bricks: Sequence[str], ours: Iterable[Path]) -> None:
    """Whether these can be the bricks of a new volume.

    Args:
        ours: directories of svcmgr itself, which no brick may hold or lie in.

    Raises:
        BadInput: a brick is there and no directory, cannot be made, or leads into a directory of ours.
    """
    reserved = [Path(os.path.realpath(path)) for path in ours]
    for brick in bricks:
        path = Path(brick)
        if os.path.realpath(brick) != brick:
            raise BadInput(
                f"cannot use brick {brick}: it leads to {os.path.realpath(brick)}; give that path", brick=brick
            )
        if path.exists() and not path.is_dir():
            raise BadInput(f"cannot use brick {brick}: it is not a directory", brick=brick)
        if not path.exists() and not path.parent.is_dir():
            raise BadInput(f"cannot use brick {brick}: {path.parent} is not there; create it first", brick=brick)
        for other in reserved:
            if path == other or path in other.parents or other in path.parents:
                raise BadInput(f"cannot use brick {brick}: svcmgr keeps its own files in {other}", brick=brick)


def make(bricks: Sequence[str]) -> None:
    """Make those that are not there, mode 0755. Raises StorageFailed, and takes away what it has made."""
    made: list[str] = []
    try:
        for brick in bricks:
            if not os.path.isdir(brick):
                _make_one(brick)
                made.append(brick)
    except (OSError, SvcmgrError) as error:
        for brick in made:
            _unmake(brick)
        text = error.message if isinstance(error, SvcmgrError) else f"{error.strerror} (errno {error.errno})"
        raise StorageFailed(f"cannot create the bricks: {text}") from error


def _make_one(brick: str) -> None:
    with _parent_of(brick) as (parent, name):
        try:
            btrfs.create_subvolume(parent, name)
        except (Unsupported, NotPermitted):
            os.mkdir(name, 0o755, dir_fd=parent)


def _unmake(brick: str) -> None:
    with _parent_of(brick) as (parent, name):
        try:
            os.rmdir(name, dir_fd=parent)  # an empty subvolume too, since Linux 4.18
        except OSError:
            btrfs.destroy(parent, name)


@contextlib.contextmanager
def _parent_of(brick: str) -> Iterator[tuple[int, str]]:
    """Its parent directory, opened, and its name in there."""
    where, name = os.path.split(brick)
    parent = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield parent, name
    finally:
        os.close(parent)


def check_present(bricks: Sequence[str]) -> None:
    """Raises BadInput where a brick of a volume that is to start is missing."""
    for number, brick in enumerate(bricks, 1):
        try:
            found = os.lstat(brick)
        except OSError as error:
            raise BadInput(
                f"cannot start: brick {number}, {brick}, is not there ({error.strerror}); mount or create it",
                brick=brick,
            ) from error
        if not stat.S_ISDIR(found.st_mode):
            raise BadInput(f"cannot start: brick {number}, {brick}, is not a directory", brick=brick)
