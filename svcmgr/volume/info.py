"""A volume as a value: its name, directories, status and options; every change makes a new one.

Theory of operation. A :class:`Volume` is checked whole when it is made, whoever makes it: an operator's command, or a
file that somebody may have edited. So there is no volume that is wrong, and a change is decided before anything is
written. ``version`` grows by one with every change and by nothing else, which tells two states of a volume apart
without a clock; the times are for people, and may jump.

A brick is a directory. Bricks never overlap, within a volume or between volumes, since what is written in one would be
snapshotted and restored with the other. RESERVED_DIR of :mod:`svcmgr.volume.snapshot` is svcmgr's in every brick, so no
brick lies in one.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from svcmgr.errors import AlreadyExists, BadInput, Busy
from svcmgr.paths import check_name
from svcmgr.volume.checks import check_directory, check_uuid, holder
from svcmgr.volume.options import MOUNT, canonical, find, value
from svcmgr.volume.snapshot import RESERVED_DIR

#: Names that commands use for something else.
RESERVED_NAMES = frozenset({"all"})
#: Most bricks of one volume: svcmgr keeps one host, and its volfile stays far below its limits.
BRICKS_MAX = 1000


class Status(enum.Enum):
    """Where a volume is in its life."""

    CREATED = "created"
    STARTED = "started"
    STOPPED = "stopped"


def _named(_: object, __: attrs.Attribute[str], name: str) -> None:
    check_name(name, "volume name")
    if name in RESERVED_NAMES:
        raise BadInput(f"cannot use {name!r} as volume name: commands mean something else by it; choose another")


def _identified(_: object, __: attrs.Attribute[str], text: str) -> None:
    check_uuid(text, "volume id")


def _apart(_: object, __: attrs.Attribute[tuple[str, ...]], bricks: tuple[str, ...]) -> None:
    if not 1 <= len(bricks) <= BRICKS_MAX:
        raise BadInput(f"cannot make a volume of {len(bricks)} bricks: give 1 to {BRICKS_MAX} directories")
    seen: set[str] = set()
    for brick in bricks:
        check_directory(brick, "brick")
        if RESERVED_DIR in brick.split("/"):
            raise BadInput(
                f"cannot use {brick} as brick: {RESERVED_DIR} is svcmgr's own; use a directory outside", brick=brick
            )
        if brick in seen:
            raise BadInput(f"cannot use {brick} as brick twice: give each directory once", brick=brick)
        seen.add(brick)
    for brick in bricks:
        if above := holder(brick, seen - {brick}):
            raise BadInput(
                f"cannot use {brick} as brick: it is inside {above}, another brick of the same volume", brick=brick
            )


def _known(_: object, __: attrs.Attribute[Status], status: Status) -> None:
    if not isinstance(status, Status):
        raise BadInput(f"cannot use {status!r} as status of a volume: give one of {', '.join(s.value for s in Status)}")


def _canonical(_: object, __: attrs.Attribute[Any], options: Mapping[str, str]) -> None:
    for name, text in options.items():
        if (spelled := canonical(name, text)) != text:
            raise BadInput(f"cannot use {text!r} for {name}: write it {spelled!r}", option=name)


def _counted(_: object, __: attrs.Attribute[int], version: int) -> None:
    if version < 1:
        raise BadInput(f"cannot use {version} as version of a volume: versions count from 1")


def _finite(_: object, field: attrs.Attribute[float], seconds: float) -> None:
    if not math.isfinite(seconds):
        raise BadInput(f"cannot use {seconds} as time a volume was {field.name}: give seconds since the epoch")


def _frozen(options: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(sorted(options.items())))


@attrs.frozen
class Volume:
    """One volume. ``options``: only what was set, in canonical text. Times: UTC seconds since the epoch.

    Raises:
        BadInput: something of it is wrong; the message says what.
        UnknownOption: it has an option that is not in the table.
    """

    name: str = attrs.field(validator=_named)
    id: str = attrs.field(validator=_identified)
    bricks: tuple[str, ...] = attrs.field(converter=tuple[str, ...], validator=_apart)
    status: Status = attrs.field(validator=_known)
    options: Mapping[str, str] = attrs.field(converter=_frozen, validator=_canonical)
    version: int = attrs.field(validator=_counted)
    created: float = attrs.field(validator=_finite)
    modified: float = attrs.field(validator=_finite)

    def __attrs_post_init__(self) -> None:
        mount = self.options.get(MOUNT, "")
        if mount and RESERVED_DIR in mount.split("/"):
            raise BadInput(
                f"cannot use {mount} for {MOUNT}: {RESERVED_DIR} is svcmgr's own; mount outside", option=MOUNT
            )
        if mount and (brick := next((b for b in self.bricks if holder(b, {mount})), None)):
            raise BadInput(f"cannot use {mount} for {MOUNT}: a mount there would hide brick {brick}", option=MOUNT)

    @classmethod
    def create(cls, name: str, id: str, bricks: Iterable[str], now: float) -> Volume:
        """A new volume with no option set. ``id``: a fresh UUID; ``now``: UTC seconds. Raises BadInput."""
        return cls(name, id, tuple(bricks), Status.CREATED, {}, 1, now, now)

    @property
    def started(self) -> bool:
        return self.status is Status.STARTED

    def value(self, option: str) -> bool | int | str:
        """What ``option`` is, set or by default. Raises UnknownOption."""
        return value(option, self.options.get(option, find(option).default))

    def start(self, now: float) -> Volume:
        """Raises Busy when it is started."""
        if self.started:
            raise Busy(f"cannot start volume {self.name}: it is started already", name=self.name)
        return self._changed(now, status=Status.STARTED)

    def stop(self, now: float) -> Volume:
        """Raises Busy when it is not started."""
        if not self.started:
            raise Busy(f"cannot stop volume {self.name}: it is {self.status.value}, not started", name=self.name)
        return self._changed(now, status=Status.STOPPED)

    def set(self, changes: Mapping[str, str], now: float) -> Volume:
        """With these values as well; all of them or none. Raises UnknownOption, BadInput."""
        fresh = {name: canonical(name, text) for name, text in changes.items()}
        return self._changed(now, options={**self.options, **fresh})

    def reset(self, names: Iterable[str], now: float) -> Volume:
        """With the defaults of these options; one that is not set stays so. Raises UnknownOption."""
        gone = {find(name).name for name in names}
        return self._changed(now, options={name: text for name, text in self.options.items() if name not in gone})

    def _changed(self, now: float, **fields: Any) -> Volume:
        return attrs.evolve(self, version=self.version + 1, modified=now, **fields)


def check_bricks(new: Volume, others: Iterable[Volume]) -> None:
    """Whether the bricks of ``new`` are apart from those of all ``others``; its own earlier states do not count.

    Raises:
        AlreadyExists: a brick is, holds or lies in a brick of another volume.
    """
    mine = frozenset(new.bricks)
    taken = {brick: other.name for other in others if other.id != new.id for brick in other.bricks}
    for brick in new.bricks:
        if found := holder(brick, taken):
            raise _overlap(new, brick, found, taken[found])
    for brick, owner in taken.items():
        if found := holder(brick, mine):
            raise _overlap(new, found, brick, owner)


def _overlap(new: Volume, brick: str, other: str, owner: str) -> AlreadyExists:
    how = "it is a brick" if brick == other else f"it and {other} overlap, a brick"
    return AlreadyExists(
        f"cannot use {brick} as brick of {new.name}: {how} of volume {owner}; use another directory",
        brick=brick,
        volume=owner,
    )


def check_mount(new: Volume, others: Iterable[Volume]) -> None:
    """Whether the mount point that ``new`` sets is free of those, and of the bricks, of all ``others``.

    Raises:
        AlreadyExists: another volume mounts its snapshots there, or a mount there would hide a brick of it.
    """
    mount = new.options.get(MOUNT)
    if not mount:
        return
    for other in others:
        places = (*other.bricks, other.options.get(MOUNT) or "")
        if other.id != new.id and (hidden := next((place for place in places if holder(place, {mount})), None)):
            raise AlreadyExists(
                f"cannot use {mount} for {MOUNT} of {new.name}: "
                f"a mount there would hide {hidden} of volume {other.name}; choose another",
                option=MOUNT,
                volume=other.name,
            )
