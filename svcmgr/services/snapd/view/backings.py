"""Files that the kernel reads by itself: FUSE passthrough (Linux 6.9, root; linux: fs/fuse/passthrough.c, backing.c).

The kernel wants every opening of one file that overlaps another to be of one kind, passthrough or not, and to name
the same backing; so the first one decides, and the last release ends it. A file that is open that way stays readable
until it is closed, whatever becomes of its snapshot, and holds no descriptor of ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct

import attrs

# linux/fuse.h: _IOW(229, 1, struct fuse_backing_map) and _IOW(229, 2, uint32_t)
_MAP = struct.Struct("=iIQ")
_ID = struct.Struct("=I")
_OPEN = 1 << 30 | _MAP.size << 16 | 229 << 8 | 1
_CLOSE = 1 << 30 | _ID.size << 16 | 229 << 8 | 2


@attrs.define
class _Opened:
    backing: int
    count: int = 1


class Backings:
    """The open files of one mount, by inode number; ``device`` is its descriptor of /dev/fuse."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._opened: dict[int, _Opened] = {}
        #: Whether the kernel agreed to passthrough.
        self.agreed = False

    def take(self, number: int, fd: int | None) -> int:
        """Count one more opening; the id of its backing, 0 for a file that is read through us.

        ``fd`` is the file behind, None where it is not at hand.
        """
        opened = self._opened.get(number)
        if opened is not None:
            opened.count += 1
            return opened.backing
        backing = self._register(fd) if fd is not None and self.agreed else 0
        self._opened[number] = _Opened(backing)
        return backing

    def give_back(self, number: int) -> None:
        """Count one opening less."""
        opened = self._opened.get(number)
        if opened is None:
            return
        opened.count -= 1
        if not opened.count:
            del self._opened[number]
            if opened.backing:
                with contextlib.suppress(OSError):  # the connection is gone, and the backing with it
                    fcntl.ioctl(self._device, _CLOSE, _ID.pack(opened.backing))

    def _register(self, fd: int) -> int:
        try:
            # Only of a mutable buffer does ioctl give the result, which is the id.
            return int(fcntl.ioctl(self._device, _OPEN, bytearray(_MAP.pack(fd, 0, 0)), True))
        except OSError:
            return 0  # a stacked file system behind, or a sandbox: it is read through us
