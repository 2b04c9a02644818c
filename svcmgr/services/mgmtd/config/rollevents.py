"""What a roll-out is told, and what it wants done."""

from __future__ import annotations

import attrs

from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.rollstate import State
from svcmgr.services.mgmtd.states import ConfigStatus


@attrs.frozen
class NodeReported:
    """A node, or a session, with the version and the status that it reported; 0 and UNKNOWN before the first report."""

    facts: Facts
    version: int = 0
    status: ConfigStatus = ConfigStatus.UNKNOWN


@attrs.frozen
class NodeFellSilent:
    """Its heartbeats stay away."""

    node: int


@attrs.frozen
class NodeLeft:
    """It was disabled or unregistered, and is waited for no more."""

    node: int


@attrs.frozen
class HaltAsked:
    author: str


@attrs.frozen
class ResumeAsked:
    """Go on; nodes that have failed so far do not count any more."""

    author: str


@attrs.frozen
class AbortAsked:
    author: str


@attrs.frozen
class RolledBack:
    """The old content is stored as this version."""

    version: int


@attrs.frozen
class Ticked:
    """The deadline has come, perhaps."""


Event = NodeReported | NodeFellSilent | NodeLeft | HaltAsked | ResumeAsked | AbortAsked | RolledBack | Ticked


@attrs.frozen
class Persist:
    """Store this before the other effects are carried out."""

    state: State


@attrs.frozen
class RollBack:
    """Store the content of version ``to`` as the newest one, in place of ``of``; see :func:`rolled_back`."""

    of: int
    to: int


@attrs.frozen
class Announce:
    """What is assigned may have changed; ``sentence`` is for the event log."""

    sentence: str


Effect = Persist | RollBack | Announce
