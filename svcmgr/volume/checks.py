"""What may be an identifier or a directory of a volume, decided by text alone.

Theory of operation. A directory arrives as text from an operator, a file or a peer, and ends up in a volfile, in JSON
and in system calls. One spelling must mean one directory in all of them, so only the normal form is taken: absolute, no
empty, "." or ".." component, no trailing slash, no control character, and valid Unicode. Then two directories overlap
exactly when one is the other or one of its ancestors, which is a look into a set. What is on the disk, symbolic links
above all, is for those who look at it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from svcmgr.errors import BadInput

#: PATH_MAX counts the final NUL, NAME_MAX does not (limits.h(0p), path_resolution(7)).
PATH_BYTES, COMPONENT_BYTES = 4095, 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: RFC 9562, section 4, in lower case as uuid.UUID prints it.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def shown(text: str, limit: int = 80) -> str:
    """``text`` quoted for a message, cut to ``limit`` characters."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}..."


def printable(text: str) -> bool:
    """Whether ``text`` has no control character and can be written as UTF-8."""
    return _CONTROL.search(text) is None and utf8(text)


def utf8(text: str) -> bool:
    """Whether ``text`` can be encoded: a lone surrogate cannot (RFC 3629, section 3)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_uuid(text: str, what: str) -> str:
    """``text`` itself if it is a UUID in lower case with hyphens. Raises BadInput."""
    if not _UUID.match(text):
        raise BadInput(
            f"cannot use {shown(text)} as {what}: it must be a UUID such as {'0' * 8}-0000-4000-8000-{'0' * 12}"
        )
    return text


def check_directory(path: str, what: str) -> str:
    """``path`` itself if it is an absolute directory name in normal form, and not the root. Raises BadInput."""
    if why := _wrong(path):
        raise BadInput(f"cannot use {shown(path)} as {what}: {why}", path=path[:PATH_BYTES])
    return path


def _wrong(path: str) -> str:
    if not path.startswith("/"):
        return "give an absolute path"
    if not printable(path):
        return "it has a control character, or is not valid UTF-8; use another name"
    if (size := len(path.encode())) > PATH_BYTES:
        return f"{size} bytes, the limit is {PATH_BYTES}"
    if path == "/":
        return "the root of the file system holds more than a volume; use a directory in it"
    return next((why for part in path[1:].split("/") if (why := _wrong_component(part))), "")


def _wrong_component(part: str) -> str:
    if part in ("", ".", ".."):
        return "write it in normal form, without '//', '.', '..' and a slash at its end"
    if (size := len(part.encode())) > COMPONENT_BYTES:
        return f"a name in it has {size} bytes, the limit is {COMPONENT_BYTES}"
    return ""


def ancestors(path: str) -> Iterator[str]:
    """The directories above a normal ``path``, nearest first, without the root."""
    cut = path.rfind("/")
    while cut > 0:
        path = path[:cut]
        yield path
        cut = path.rfind("/")


def holder(path: str, directories: Collection[str]) -> str | None:
    """The one of ``directories`` that is ``path`` or lies above it; None when there is none."""
    if path in directories:
        return path
    return next((above for above in ancestors(path) if above in directories), None)
