"""Kinds of files, in the words of the wire."""

from __future__ import annotations

import stat

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


def kind_of(mode: int) -> str:
    """The word for ``st_mode`` (inode(7)); "file" for a kind that Linux does not have yet."""
    return _KINDS.get(stat.S_IFMT(mode), "file")
