"""What candidates for the lease write, are told and do.

``Lease`` is the one record that all of them compare and set. Nobody reads a time in it: ``length_s`` is how long it
holds after it was written, measured by everyone on a clock of his own. ``serial`` differs with every attempt to
write, so that each extension is a change that others can see. The UTC times are for people, and are not compared.
"""

from __future__ import annotations

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.release import ReleaseVersion


@attrs.frozen
class Holder:
    """One process of one node. ``incarnation`` is drawn anew whenever the process starts."""

    node_id: int = attrs.field(validator=ids.NODE_ID.validate)
    incarnation: str


@attrs.frozen(kw_only=True)
class Lease:
    """Who is primary. ``epoch`` is the fencing number: each owner has a higher one than all before.

    ``release``: older programs may not take the lease; None: any may. ``released``: given up, and free at once.
    """

    holder: Holder
    epoch: int = attrs.field(validator=ids.EPOCH.validate)
    length_s: float
    serial: int = 0
    release: ReleaseVersion | None = None
    released: bool = False
    started_utc: float = attrs.field(default=0.0, eq=False)
    renewed_utc: float = attrs.field(default=0.0, eq=False)


@attrs.frozen(kw_only=True)
class Policy:
    """Durations in seconds.

    ``suspicious_s``: when no more than this is left of a lease, its owner does not serve. ``check_release``: an older
    release may not take the lease. ``sole_instance``: this host makes sure that a node id has one process at a time
    (a lock on its pidfile), so an earlier one of the same id is dead. ``bootstrapping_s``: for how long after taking
    over the picture of the cluster may be incomplete.

    Defaults: deepseek-ai/3FS: src/mgmtd/service/MgmtdConfig.h.

    Raises:
        BadInput: durations with which a lease that is extended in time would not be trusted.
    """

    length_s: float = 60.0
    tick_s: float = 10.0
    suspicious_s: float = 20.0
    check_release: bool = True
    sole_instance: bool = False
    bootstrapping_s: float = 120.0

    def __attrs_post_init__(self) -> None:
        if not (self.tick_s > 0 and self.suspicious_s >= 0 and self.tick_s + self.suspicious_s < self.length_s):
            raise BadInput(
                f"cannot hold a lease of {self.length_s} s that is extended each {self.tick_s} s and not trusted in "
                f"its last {self.suspicious_s} s: the two together must be shorter than the lease"
            )


@attrs.frozen
class Candidate:
    """The one who decides: who it is, and with which program."""

    holder: Holder
    release: ReleaseVersion | None = None


# What happened, for Leadership.handle.


@attrs.frozen
class Tick:
    """The deadline was reached."""


@attrs.frozen
class Found:
    """What a Look read."""

    lease: Lease | None


@attrs.frozen
class Stored:
    """The Put was carried out."""


@attrs.frozen
class Conflict:
    """The Put was not carried out, because this is what is there."""

    lease: Lease | None


@attrs.frozen
class StoreFailed:
    """The Look or Put failed; a Put may have been carried out, or may still be."""


@attrs.frozen
class Loaded:
    """The state of the cluster is in memory, loaded under this epoch."""

    epoch: int


@attrs.frozen
class LoadFailed:
    epoch: int


@attrs.frozen
class StepDown:
    """Give the lease up, and let others have it for the length of one."""


@attrs.frozen
class Disabled:
    """The own node got, or lost, the tag ``Disable``."""

    now: bool


@attrs.frozen
class ForceRelease:
    """An operator takes the lease from whoever has it; ``any_release`` lets older programs take it too."""

    any_release: bool = False


Event = Tick | Found | Stored | Conflict | StoreFailed | Loaded | LoadFailed | StepDown | Disabled | ForceRelease


# What is to be done, in order.


@attrs.frozen
class Look:
    """Read the lease; answer with Found or StoreFailed."""


@attrs.frozen
class Put:
    """Store ``new`` if ``expected`` is there; answer with Stored, Conflict or StoreFailed."""

    expected: Lease | None
    new: Lease


@attrs.frozen
class Load:
    """Load the state of the cluster; answer with Loaded or LoadFailed."""

    epoch: int


@attrs.frozen
class Serve:
    """Answer as primary."""

    epoch: int


@attrs.frozen
class Pause:
    """Answer NotPrimary, and keep the state: the lease is about to end, or may be extended yet."""

    epoch: int


@attrs.frozen
class Retire:
    """Answer NotPrimary and drop the state: somebody else may own the lease."""

    epoch: int


Effect = Look | Put | Load | Serve | Pause | Retire


@attrs.frozen
class Answer:
    """Who is primary. ``fresh`` False: look at the store and ask again. ``last`` owned it when nobody does now."""

    primary: Holder | None
    last: Holder | None
    fresh: bool
