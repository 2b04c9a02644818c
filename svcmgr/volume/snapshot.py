"""A snapshot as a value: what it may be called, where its data is, and the record of one that exists.

Theory of operation. The data of a snapshot is in the bricks themselves, where it can share blocks with them:
``<brick>/.svcmgr/snapshots/<id>`` in every brick. The id is a UUID, so no name that people choose ever becomes a path
there, and a name can be used again as soon as its snapshot is gone. The name becomes a directory in the view, hence it
is one path component, and it may begin with a dot, which hides it where the volume says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from svcmgr.errors import BadInput
from svcmgr.volume.checks import check_directory, check_uuid, printable, shown
from svcmgr.volume.civil import civil

#: The directory in each brick that holds our data; nobody else's file in a brick has this name.
RESERVED_DIR = ".svcmgr"
#: Longest name of a snapshot, characters; it is ASCII, and NAME_MAX is 255 bytes (path_resolution(7)).
NAME_MAX = 100
#: Longest description, characters.
DESCRIPTION_MAX = 1000
#: What ``method`` and ``consistency`` of a record may be.
METHODS = ("btrfs", "reflink", "copy")
CONSISTENCIES = ("instant", "per-file")

_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9._-]*\Z")
_ORIGIN = re.compile(r"(operator|safety|schedule:[A-Za-z0-9][A-Za-z0-9._-]{0,99})\Z")


def check_snapshot_name(name: str) -> str:
    """``name`` itself if a snapshot may be called so.

    Raises:
        BadInput: empty, over NAME_MAX characters, "." or "..", RESERVED_DIR, or outside ``[A-Za-z0-9._-]`` with a
            letter, a digit or a dot first.
    """
    if len(name) > NAME_MAX:
        raise BadInput(f"cannot use {name[:20]!r}... as snapshot name: {len(name)} characters, the limit is {NAME_MAX}")
    if not _NAME.match(name):
        raise BadInput(
            f"cannot use {name!r} as snapshot name: use letters, digits, '.', '_' and '-', "
            "with a letter, digit or dot first"
        )
    if name in (".", "..", RESERVED_DIR):
        raise BadInput(f"cannot use {name!r} as snapshot name: it means something else in a directory; choose another")
    return name


def default_name(now_utc: float, taken: Container[str] = ()) -> str:
    """A name from the time, like ``snap-2026-11-26T20-41-00Z``; with a number at its end where ``taken`` has it.

    Raises:
        BadInput: the clock is before 1970 or after 9999.
    """
    at = civil(now_utc)
    day, time = f"{at.year:04}-{at.month:02}-{at.day:02}", f"{at.hour:02}-{at.minute:02}-{at.second:02}"
    base = name = f"snap-{day}T{time}Z"
    number = 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def snapshots_dir(brick: str) -> str:
    """Where ``brick`` keeps the data of its snapshots, one directory each, named by id."""
    return f"{brick}/{RESERVED_DIR}/snapshots"


def snapshot_dir(brick: str, snapshot_id: str) -> str:
    """Where ``brick`` keeps the data of this snapshot. Raises BadInput for an id that is no UUID."""
    return f"{snapshots_dir(brick)}/{check_uuid(snapshot_id, 'snapshot id')}"


@attrs.frozen
class Cost:
    """What taking a snapshot cost. ``copied_bytes`` were written, ``shared_bytes`` are shared with the volume."""

    seconds: float = 0.0
    files: int = 0
    copied_bytes: int = 0
    shared_bytes: int = 0


def _one_of(*allowed: str) -> Any:
    def check(_: object, field: attrs.Attribute[str], value: str) -> None:
        if value not in allowed:
            raise BadInput(
                f"cannot use {shown(value)} as {field.name} of a snapshot: it must be {' or '.join(allowed)}"
            )

    return check


def _named(_: object, __: attrs.Attribute[str], name: str) -> None:
    check_snapshot_name(name)


def _identified(_: object, field: attrs.Attribute[str], text: str) -> None:
    check_uuid(text, "snapshot id" if field.name == "id" else "volume id")


def _when(_: object, __: attrs.Attribute[float], created: float) -> None:
    if not math.isfinite(created):
        raise BadInput(f"cannot use {created} as time of a snapshot: give seconds since the epoch")


def _somewhere(_: object, __: attrs.Attribute[tuple[str, ...]], bricks: tuple[str, ...]) -> None:
    if not bricks:
        raise BadInput("cannot make a snapshot of no brick: name the bricks it was taken of")
    for brick in bricks:
        check_directory(brick, "brick")


def _origin(_: object, __: attrs.Attribute[str], origin: str) -> None:
    if not _ORIGIN.match(origin):
        raise BadInput(f"cannot use {shown(origin)} as origin of a snapshot: operator, safety or schedule:NAME")


def _described(_: object, __: attrs.Attribute[str], text: str) -> None:
    if len(text) > DESCRIPTION_MAX or not printable(text):
        raise BadInput(
            f"cannot use a description of {len(text)} characters: one line of at most {DESCRIPTION_MAX}, in valid UTF-8"
        )


def _frozen(options: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(options))


@attrs.frozen(kw_only=True)
class Record:
    """One snapshot that exists. Times: UTC seconds since the epoch.

    ``bricks``: what it was taken of, in the order of the volume. ``volume_options``: those of the volume at that time.
    ``skipped``: what could not be taken, and why. Raises BadInput when something of it is wrong.
    """

    name: str = attrs.field(validator=_named)
    id: str = attrs.field(validator=_identified)
    volume_id: str = attrs.field(validator=_identified)
    created: float = attrs.field(validator=_when)
    method: str = attrs.field(validator=_one_of(*METHODS))
    consistency: str = attrs.field(validator=_one_of(*CONSISTENCIES))
    bricks: tuple[str, ...] = attrs.field(converter=tuple[str, ...], validator=_somewhere)
    activated: bool = False
    origin: str = attrs.field(default="operator", validator=_origin)
    description: str = attrs.field(default="", validator=_described)
    cost: Cost = Cost()
    skipped: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    volume_options: Mapping[str, str] = attrs.field(factory=dict, converter=_frozen)

    def paths(self) -> tuple[str, ...]:
        """Where its data is: one directory for each brick."""
        return tuple(snapshot_dir(brick, self.id) for brick in self.bricks)
