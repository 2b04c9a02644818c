"""One volume as a file: its format, and reading it without believing it.

The format is JSON with a number. A file of a later format, one with keys we do not know, or with an option that we do
not know or would not take was written by a later version: it says things we would lose, so it is refused as
Unsupported and must stay as it is. Everything else that is wrong is BadInput: no version of ours writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from svcmgr.errors import BadInput, Unsupported
from svcmgr.fsutil import read_limited
from svcmgr.volume import Status, Volume, canonical

#: What this version writes. A version that writes another one must still read this one.
FORMAT = 1
#: Largest file, bytes: a thousand bricks of PATH_MAX, each character escaped, fit twice.
FILE_MAX = 16 * 1024 * 1024
SUFFIX = ".json"

#: Any number that JSON readers agree about (RFC 8259, section 6).
_Count = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
#: From the epoch to the end of year 9999, the last that RFC 3339 can write.
_Moment = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]


class _Stored(msgspec.Struct):
    """The content. Times are UTC seconds."""

    format: int
    name: str
    id: str
    bricks: list[str]
    status: Status
    options: dict[str, str]
    version: _Count
    created: _Moment
    modified: _Moment


_KEYS = frozenset(_Stored.__struct_fields__)
# What msgspec raises on hostile input: its own errors, UnicodeDecodeError (a ValueError) and RecursionError.
_UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def encode(volume: Volume) -> bytes:
    """The content of the file of ``volume``, readable for people."""
    stored = _Stored(
        FORMAT,
        volume.name,
        volume.id,
        list(volume.bricks),
        volume.status,
        dict(volume.options),
        volume.version,
        volume.created,
        volume.modified,
    )
    return msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"


def read(path: Path) -> Volume:
    """The volume in the file at ``path``, which must be named after it. Follows no symbolic link.

    Raises:
        BadInput: not a regular file, larger than FILE_MAX, not our format, no valid volume, or of another name.
        Unsupported: it comes from a later version.
        OSError: as open(2) does.
    """
    if path.is_symlink():
        raise BadInput("it is a symbolic link, not a regular file")
    data = read_limited(path, FILE_MAX)
    try:
        keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        _check_format(keys)
        stored = msgspec.json.decode(data, type=_Stored)
    except _UNDECODABLE as error:
        raise BadInput(f"it is not the file of a volume: {error}") from error
    if path.name != stored.name + SUFFIX:
        raise BadInput(f"it says that it is volume {stored.name[:100]!r}, and its name says otherwise")
    return _volume(stored)


def _check_format(keys: dict[str, msgspec.Raw]) -> None:
    """Raises Unsupported; whatever msgspec raises."""
    number = msgspec.json.decode(keys.get("format", b"null"), type=_Count)
    if number > FORMAT:
        raise Unsupported(f"it has format {number}, this svcmgrd knows formats up to {FORMAT}; use a later one")
    if later := sorted(set(keys) - _KEYS):
        raise Unsupported(f"it has {later[0][:100]!r}, which this svcmgrd does not know; use a later one")


def _options(stored: dict[str, str]) -> dict[str, str]:
    """Canonical texts, also where somebody wrote a file by hand. Raises Unsupported."""
    try:
        return {name: canonical(name, text) for name, text in stored.items()}
    except BadInput as error:
        raise Unsupported(f"{error.message} (a later svcmgrd may know better)") from error


def _volume(stored: _Stored) -> Volume:
    """Raises BadInput, Unsupported."""
    return Volume(
        stored.name,
        stored.id,
        tuple(stored.bricks),
        stored.status,
        _options(stored.options),
        stored.version,
        stored.created,
        stored.modified,
    )
