"""Which inode number a file of a snapshot has in the view, and what the kernel still remembers.

Theory of operation. The kernel names every file by a number that we chose when it looked the name up, until it says
that it forgot it. The number is also what people see (``st_ino``), so it has to be the same whenever the same file is
looked up again, other for every other file, and other for the same file in another snapshot. It is therefore
computed: every root (one brick of one snapshot) has a random-looking ``seed`` made from the snapshot's id, and the
number is a bijective mix of seed and the file's own inode number. Within one root two files never meet; between two
roots they meet with a chance of 2**-63 for each pair, and then the later one takes the next free number. Nothing has
to be stored for a file that the kernel does not remember, numbers outlive the daemon, and hard links of one file
share their number as they must.

A few things have no inode number of their own to mix: the synthetic directory of a snapshot of several bricks, and what
is on another device inside a root or has a number that many share (an emptied btrfs subvolume is number 2 everywhere);
those mix a digest of their path.

The table holds one node for every number that the kernel remembers, counts its lookups, and drops the node with the
last. A node names its file by root and path and holds no descriptor; whether its root is still shown is asked when it
is used. The kernel forgets when *it* is short of memory, which may be long after we are, so a crowded table names
victims that the kernel can be asked to let go of: files before directories (a directory may be where somebody works),
oldest first.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator

import attrs

#: The kernel's name for the top of the mount (FUSE_ROOT_ID of linux/fuse.h).
TOP = 1
_FIRST_FREE = 2
_BITS = 63  # one less than there are: signed in many a program
_MASK = (1 << _BITS) - 1
#: btrfs shows a subvolume inside a snapshot as an empty directory with this number
#: (linux: include/uapi/linux/btrfs_tree.h, BTRFS_EMPTY_SUBVOL_DIR_OBJECTID).
_SHARED_INODE = 2


@attrs.frozen
class Key:
    """One file: its root, and its device and inode number there. ``path`` only where those do not tell it apart."""

    root: str
    device: int
    inode: int
    path: bytes = b""


@attrs.define(eq=False)
class Node:
    """What one number stands for: the first path it was found by (b"" is the top of its root), and where."""

    number: int
    key: Key
    path: bytes
    parent: int
    is_directory: bool
    lookups: int = 0


def digest63(*parts: bytes) -> int:
    """A number of 63 bits that is random-looking and always the same for ``parts``."""
    text = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") & _MASK


def mix(seed: int, inode: int) -> int:
    """A bijection of the numbers below 2**63 for every ``seed``; the steps are those of SplitMix64's finaliser.

    Every step (xor with a seed, xor of a right shift, multiplication by an odd number) can be undone modulo 2**63.
    """
    value = (inode ^ seed) & _MASK
    value ^= value >> 30
    value = value * 0xBF58476D1CE4E5B9 & _MASK
    value ^= value >> 27
    value = value * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def key_of(root: str, device: int, status: tuple[int, int, bool], path: bytes) -> Key:
    """The key of ``path`` in ``root`` whose top is on ``device``; ``status`` is its own device, inode, is-directory."""
    own_device, inode, is_directory = status
    ambiguous = own_device != device or (is_directory and inode == _SHARED_INODE and path != b"") or inode > _MASK
    return Key(root, own_device, inode, path if ambiguous else b"")


class Inodes:
    """The nodes that the kernel remembers, by number."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def get(self, number: int) -> Node | None:
        """The node, or None for one that was forgotten or never given out."""
        return self._nodes.get(number)

    def number(self, seed: int, key: Key) -> int:
        """The number that ``key`` has, or would get now; nothing is remembered. ``seed`` is its root's."""
        number = mix(seed, key.inode if not key.path else digest63(key.path, key.inode.to_bytes(8, "little")))
        while number < _FIRST_FREE or ((node := self._nodes.get(number)) is not None and node.key != key):
            number = number + 1 & _MASK
        return number

    def remember(self, node: Node) -> None:
        """Count one more lookup of ``node``, whose number is what :meth:`number` gave; the first one found stays."""
        self._nodes.setdefault(node.number, node).lookups += 1

    def victims(self) -> list[Node]:
        """What to let go of when there are too many: up to half of the table."""
        most = len(self._nodes) // 2
        files = (node for node in self if not node.is_directory)
        directories = (node for node in self if node.is_directory and node.path)
        return list(itertools.islice(itertools.chain(files, directories), most))

    def forget(self, forgotten: Iterable[tuple[int, int]]) -> list[int]:
        """Take (number, lookups) back; the numbers whose node is gone with that."""
        gone = []
        for number, lookups in forgotten:
            node = self._nodes.get(number)
            if node is None:
                continue
            node.lookups -= lookups
            if node.lookups <= 0:
                del self._nodes[number]
                gone.append(number)
        return gone
