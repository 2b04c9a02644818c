"""A target: one replica of the data of one chain, on one disk of one node.

Theory of operation. A target has two states. The *local* one is what its node reports; the *public* one follows from
the local states of all targets of its chain, by the rules of :mod:`svcmgr.services.mgmtd.chains`, and is what clients
obey. Only the public state is stored; local states are heard again after a restart. A target belongs to one chain.
"""

from __future__ import annotations

import attrs

from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.states import LocalState, PublicState


@attrs.frozen
class ChainTarget:
    """A target in its chain, with what the chain's rules look at."""

    target_id: int = attrs.field(validator=ids.TARGET_ID.validate)
    public: PublicState
    local: LocalState = LocalState.OFFLINE

    def at(self, public: PublicState) -> ChainTarget:
        """This target in another public state; itself when it is the same."""
        return self if public is self.public else ChainTarget(self.target_id, public, self.local)

    def heard(self, local: LocalState) -> ChainTarget:
        """This target with another local state; itself when it is the same."""
        return self if local is self.local else ChainTarget(self.target_id, self.public, local)


@attrs.frozen(kw_only=True)
class LocalTarget:
    """One target in a heartbeat of its node. ``chain_version`` is what the node last saw, 0 when it does not know."""

    target_id: int = attrs.field(validator=ids.TARGET_ID.validate)
    local: LocalState
    chain_version: int = attrs.field(default=0, validator=ids.SEEN_CHAIN_VERSION.validate)
    disk_index: int | None = attrs.field(default=None, validator=attrs.validators.optional(ids.DISK_INDEX.validate))
    used_bytes: int = attrs.field(default=0, validator=ids.BYTES.validate)
    low_space: bool = False


@attrs.frozen(kw_only=True)
class TargetInfo:
    """What is known of a target. Without a node it has not been heard of."""

    target_id: int = attrs.field(validator=ids.TARGET_ID.validate)
    chain_id: int = attrs.field(validator=ids.CHAIN_ID.validate)
    public: PublicState
    local: LocalState = LocalState.OFFLINE
    node_id: int | None = attrs.field(default=None, validator=attrs.validators.optional(ids.NODE_ID.validate))
    disk_index: int | None = attrs.field(default=None, validator=attrs.validators.optional(ids.DISK_INDEX.validate))
    used_bytes: int = attrs.field(default=0, validator=ids.BYTES.validate)
    low_space: bool = False
