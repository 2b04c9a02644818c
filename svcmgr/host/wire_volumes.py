"""What svcmgrd and its clients say to each other about volumes and volfiles.

Apart from :mod:`svcmgr.host.wire` so that a command which has nothing to do with volumes does not pay for these types.
Times are UTC seconds since the epoch, durations seconds, sizes bytes. Names of volumes in a request are exact, except
in VolumesRequest, where they may be globs (fnmatch).

==============  ======  ====================  ===============  =====================================================
verb            access  request               answer           what it does
==============  ======  ====================  ===============  =====================================================
volume-info     read    VolumesRequest        VolumesReply     volumes and the services that depend on them
volume-options  read    OptionsRequest        OptionsReply     the options there are; with a name, that volume's values
volfile-facts   read    none                  VolfileFacts     who asked for which volfile, and how often
volume-create   admin   VolumeCreateRequest   VolumeReply      make one; it is not started
volume-start    admin   VolumeActionRequest   VolumeReply      start it, and the services that it wants
volume-stop     admin   VolumeActionRequest   VolumeReply      stop those services; the data stays
volume-delete   admin   VolumeDeleteRequest   VolumeReply      forget one that is not started; the data stays
volume-set      admin   VolumeSetRequest      VolumeReply      set options, all of them or none
volume-reset    admin   VolumeResetRequest    VolumeReply      set options back to their defaults
==============  ======  ====================  ===============  =====================================================

A changing verb answers when the change is durable and every service concerned has come to rest, or at its deadline.
"""

from __future__ import annotations

import msgspec


class VolumeService(msgspec.Struct, frozen=True, omit_defaults=True):
    """A service whose life a volume decides. ``reason`` says why it is wanted or not, or what it lacks."""

    name: str
    status: str
    wanted: bool
    reason: str = ""


class VolumeInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One volume. ``status``: created, started or stopped. ``options`` has only what was set, in canonical text.

    ``version`` grows by one with every change.
    """

    name: str
    id: str
    bricks: list[str]
    status: str
    version: int
    created: float
    modified: float
    options: dict[str, str] = {}
    services: list[VolumeService] = []


class VolumesRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``names`` are names or globs (fnmatch); empty means all."""

    names: list[str] = []


class VolumesReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """``invalid`` maps a volume that was asked for and whose file could not be loaded to the reason."""

    volumes: list[VolumeInfo]
    invalid: dict[str, str] = {}


class VolumeCreateRequest(msgspec.Struct, frozen=True):
    """``bricks`` are absolute paths of directories."""

    name: str
    bricks: list[str]


class VolumeDeleteRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``force``: also when a service holds something of it, such as snapshots; their data stays where it is."""

    name: str
    force: bool = False


class VolumeActionRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``wait``: answer when done, at most ``timeout_s`` after the request."""

    name: str
    wait: bool = True
    timeout_s: float = 60.0


class VolumeSetRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``options`` maps an option to its new value as text."""

    name: str
    options: dict[str, str]
    timeout_s: float = 60.0


class VolumeResetRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``options``: which ones; empty means all that are set."""

    name: str
    options: list[str] = []
    timeout_s: float = 60.0


class ServiceOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a change of a volume did to one service.

    ``action`` is one of: none (concerned, nothing to do), unchanged (its volfile is the same), reconfigured (told, and
    it applied the new volfile), restarted, started, stopped, starting and stopping (under way when the answer was
    given), deferred (it does not answer now and is told as soon as it does), failed. ``text`` says why; ``code`` is the
    error code when it is not ``ok``.
    """

    name: str
    action: str
    ok: bool = True
    text: str = ""
    code: str = ""


class VolumeReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The volume after the change. ``changed`` maps an option to its old and its new value, defaults filled in."""

    volume: VolumeInfo
    changed: dict[str, list[str]] = {}
    outcomes: list[ServiceOutcome] = []


class OptionsRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``name`` "" asks for the options as such. ``options``: which ones; empty means all."""

    name: str = ""
    options: list[str] = []


class OptionInfo(msgspec.Struct, frozen=True):
    """One option. ``value`` is in force for the volume that was asked about; ``kinds`` are the services that react."""

    name: str
    type: str
    default: str
    value: str
    is_set: bool
    help: str
    kinds: list[str]


class OptionsReply(msgspec.Struct, frozen=True):
    options: list[OptionInfo]


class VolfileAsk(msgspec.Struct, frozen=True, omit_defaults=True):
    """One volfile that is served: how often it was asked for, and when and by whom last.

    ``last_at`` is None when nobody asked yet; ``last_pid`` is 0 where the kernel could not name the process. ``bytes``
    is the size of its text.
    """

    id: str
    count: int
    last_at: float | None = None
    last_pid: int = 0
    last_uid: int = 0
    bytes: int = 0


class VolfileFacts(msgspec.Struct, frozen=True):
    """``served`` and ``refused`` count requests since svcmgrd started, ``bytes`` the text that was sent."""

    asks: list[VolfileAsk]
    refused: int
    served: int
    bytes: int
