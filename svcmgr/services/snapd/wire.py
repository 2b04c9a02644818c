"""What snapd and its clients say to each other. Times are UTC seconds since the epoch, durations seconds, sizes bytes.

One snapd serves one volume, so no request names the volume. Paths inside a snapshot are relative to the volume's
content, with "/" between names, "" or "/" for the top; a path that leaves the snapshot is refused.

==================  ======  ==================  ===============  ==================================================
verb                access  request             answer           what it does
==================  ======  ==================  ===============  ==================================================
snapshots           read    SnapshotsRequest    SnapshotsReply   the snapshots by age, from memory
snapshot-info       read    NameRequest         SnapshotInfo     everything about one
snapshot-create     admin   CreateRequest       Snapshot         take one; atomic or not there
snapshot-activate   admin   NamesRequest        SnapshotsReply   serve them in the view
snapshot-deactivate admin   NamesRequest        SnapshotsReply   serve them no more
snapshot-delete     admin   NamesRequest        SnapshotsReply   forget them; their data is removed in the background
snapshot-restore    admin   RestoreRequest      RestoreReply     a file, a directory or all, to a new place or in place
snapshot-diff       admin   DiffRequest         DiffReply        what differs between two snapshots, or now
schedules           read    none                SchedulesReply   the schedules and when each is due next
schedule-set        admin   ScheduleRequest     Schedule         make or change one
schedule-remove     admin   NameRequest         Schedule         forget one; its snapshots stay
list                read    PathRequest         ListReply        a directory of an activated snapshot, as the caller may
stat                read    PathRequest         Entry            one file of an activated snapshot, as the caller may
read                read    ReadRequest         ReadReply        a piece of a file of it, as the caller may read it
view                read    none                ViewFacts        whether and where the snapshots are mounted
==================  ======  ==================  ===============  ==================================================

``list``, ``stat`` and ``read`` act with the permissions of the calling user: the kernel checks them, as in the view.
"""

from __future__ import annotations

import msgspec


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """What taking a snapshot cost. ``copied_bytes`` counts data written, not data shared with the volume."""

    seconds: float = 0.0
    files: int = 0
    copied_bytes: int = 0
    shared_bytes: int = 0


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """One snapshot in a list.

    ``method``: btrfs, reflink or copy. ``consistency``: "instant" (one moment for each brick) or "per-file".
    ``origin``: "operator", "schedule:NAME" or "safety". ``name`` is unique in its volume, ``id`` for ever.
    """

    name: str
    id: str
    created: float
    method: str
    consistency: str
    activated: bool = False
    origin: str = "operator"
    description: str = ""
    cost: Cost = Cost()


class SnapshotInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """``paths``: where its data is, one directory for each brick. ``skipped``: what could not be taken, and why."""

    snapshot: Snapshot
    volume: str
    volume_id: str
    bricks: list[str]
    paths: list[str]
    volume_options: dict[str, str] = {}
    skipped: list[str] = []
    view: str | None = None


class NameRequest(msgspec.Struct, frozen=True):
    name: str


class NamesRequest(msgspec.Struct, frozen=True):
    """``names`` are names or globs (fnmatch); one that matches nothing refuses the whole request."""

    names: list[str]


class SnapshotsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``names`` are names or globs; empty means all."""

    names: list[str] = []


class SnapshotsReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``free_bytes``/``total_bytes``: of the fullest file system that snapshots of this volume are on."""

    snapshots: list[Snapshot]
    volume: str
    limit: int = 0
    free_bytes: int = 0
    total_bytes: int = 0


class CreateRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``name`` "" makes one from the time. ``activate`` None: as the volume's option says."""

    name: str = ""
    description: str = ""
    activate: bool | None = None


class RestoreRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bring ``path`` of snapshot ``name`` back.

    Exactly one of ``to`` (an absolute path that does not exist yet) and ``in_place``. ``in_place`` needs
    ``confirmed`` and takes a safety snapshot first. ``brick``: its number from 1, for volumes with several.
    """

    name: str
    path: str = ""
    to: str = ""
    in_place: bool = False
    confirmed: bool = False
    brick: int = 0


class RestoreReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``where``: what was written. ``safety``: the name of the safety snapshot, "" where none was needed."""

    where: list[str]
    files: int
    bytes: int
    seconds: float
    safety: str = ""


class DiffRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """From snapshot ``name`` to snapshot ``other``, or to the volume as it is where ``other`` is "".

    ``content``: read files of equal size and time as well. ``limit``: at most this many changes are listed.
    """

    name: str
    other: str = ""
    path: str = ""
    content: bool = False
    limit: int = 10_000


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """``change``: added, removed, modified (content), metadata (owner, mode, xattr, time) or type."""

    change: str
    path: str
    kind: str
    old_size: int | None = None
    new_size: int | None = None


class DiffReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``counts``: changes by kind of change, all of them; ``truncated`` when more were found than listed."""

    differences: list[Difference]
    counts: dict[str, int]
    truncated: bool = False


class ScheduleRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``every``: "30m", "1h", "1d", "1w". ``keep``: "last=10,hourly=24,daily=7,weekly=4,monthly=12,yearly=2"."""

    name: str
    every: str
    keep: str
    activate: bool | None = None


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One schedule as stored, with what it did last and when it is due next.

    ``last_result``: "", "taken NAME", or why not. ``held``: snapshots of it that exist now.
    """

    name: str
    every: str
    keep: dict[str, int]
    activate: bool | None = None
    next_due: float | None = None
    last_run: float | None = None
    last_result: str = ""
    held: int = 0


class SchedulesReply(msgspec.Struct, frozen=True):
    schedules: list[Schedule]


class PathRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``name``: an activated snapshot. ``brick``: its number from 1, for volumes with several."""

    name: str
    path: str = ""
    brick: int = 0


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file. ``kind``: file, directory, symlink, fifo, socket, char or block; ``mode``: permission bits."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    target: str | None = None


class ListReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``truncated`` when the directory holds more than is listed."""

    entries: list[Entry]
    truncated: bool = False


class ReadRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """At most READ_MAX bytes are given at once."""

    name: str
    path: str
    offset: int = 0
    length: int = 1 << 20
    brick: int = 0


class ReadReply(msgspec.Struct, frozen=True):
    """``eof``: nothing follows."""

    data: bytes
    size: int
    eof: bool


class ViewFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """``state``: mounted, off, or unavailable; ``reason`` says why it is not mounted and what would help."""

    state: str
    mount: str | None = None
    reason: str = ""
    snapshots: int = 0
    opens: int = 0
    reads: int = 0
    read_bytes: int = 0


#: Most bytes that one ``read`` answers.
READ_MAX = 4 * 1024 * 1024
