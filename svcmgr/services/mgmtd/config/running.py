"""What a node runs with: how it takes a version, and how far it has drifted from it.

Theory of operation. A node takes a version whole or not at all. It refuses one that cannot be rendered or read, and one
in which a cold key changes; then it goes on with what it has, still reports the version it has, and is FAILED until it
takes something. It is offered the same version again with every answer, and so takes it once it can: after a restart,
or a change of its tags. A change by hand is applied to the values alone: the node is DIRTY, with the keys that differ,
until the next version or the change back.

The primary knows more than a node does: which version it wants on it. To the primary, version 0 is UNKNOWN and one
below the wanted is STALE, but FAILED stays FAILED: that a node refuses its configuration must not hide behind its being
behind, which it then always is.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.differences import Difference, compare, split
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.kinds import Value
from svcmgr.services.mgmtd.config.schema import Schema, Values
from svcmgr.services.mgmtd.config.template import cut
from svcmgr.services.mgmtd.config.version import BUILT_IN, ConfigVersion
from svcmgr.services.mgmtd.errors import InvalidConfigVersion
from svcmgr.services.mgmtd.states import ConfigStatus


@attrs.frozen
class Drift:
    """How running values compare with a version: its status, the keys that differ, and why it FAILED."""

    status: ConfigStatus
    differing: tuple[Difference, ...] = ()
    reason: str = ""


@attrs.frozen
class Update:
    """What became of the last offer: ``at`` UTC seconds, the version, its description, and "" or why it was refused."""

    at: float
    version: int
    desc: str
    refused: str = ""


@attrs.frozen
class Running:
    """One node's configuration in force: the version it took last, all values, and what became of the last offer."""

    schema: Schema
    facts: Facts
    taken: ConfigVersion
    values: Values
    last: Update | None = None

    @classmethod
    def start(cls, schema: Schema, facts: Facts, version: ConfigVersion = BUILT_IN) -> Running:
        """At the start of the process, where cold keys may have any value. Raises InvalidConfig."""
        return cls(schema, facts, version, _render(schema, facts, version.content))

    @property
    def version(self) -> int:
        """What is reported."""
        return self.taken.version

    def drift(self) -> Drift:
        """NORMAL, DIRTY, or FAILED when the last offer was refused."""
        found = drift(self.schema, self.taken.content, self.facts, self.values)
        if self.last and self.last.refused:
            return Drift(ConfigStatus.FAILED, found.differing, self.last.refused)
        return found

    def offered(self, version: ConfigVersion, now: float) -> Running:
        """After an offer, taken or refused. ``now`` is UTC seconds. One that is not newer changes nothing."""
        if version.version <= self.version:
            return self
        try:
            values = _render(self.schema, self.facts, version.content)
        except InvalidConfig as error:
            return self._refuse(version, error.message, now)
        cold = split(self.schema, compare(self.values, values)).cold
        if cold:
            keys = ", ".join(each.key for each in cold)
            return self._refuse(version, f"cannot change {keys} while running: restart the node to take it", now)
        return attrs.evolve(self, taken=version, values=values, last=Update(now, version.version, version.desc))

    def changed(self, changes: Mapping[str, object]) -> Running:
        """After a change by hand of some hot keys to values as TOML has them. Raises BadInput."""
        new = dict(self.values)
        for name, raw in changes.items():
            key = self.schema.key(name)
            if key is None or not key.hot:
                raise BadInput(
                    f"cannot change {name[:80]!r} by hand: {'it is cold' if key else 'there is no such key'}"
                )
            try:
                new[name] = key.kind.read(raw)
            except ValueError:
                raise BadInput(f"cannot change {name}: give {key.kind.allowed()}", key=name) from None
        return attrs.evolve(self, values=new)

    def _refuse(self, version: ConfigVersion, reason: str, now: float) -> Running:
        return attrs.evolve(self, last=Update(now, version.version, version.desc, reason))


def drift(schema: Schema, content: str, facts: Facts, values: Mapping[str, Value]) -> Drift:
    """How ``values`` compare with a fresh rendering of ``content`` for the node: NORMAL, DIRTY or FAILED."""
    try:
        wanted = _render(schema, facts, content)
    except InvalidConfig as error:
        return Drift(ConfigStatus.FAILED, reason=error.message)
    differing = compare(wanted, values)
    return Drift(ConfigStatus.DIRTY if differing else ConfigStatus.NORMAL, differing)


def judged(version: int, status: ConfigStatus, wanted: int, newest: int | None = None) -> ConfigStatus:
    """What the primary makes of a report.

    ``wanted`` is the version that the node should have; ``newest`` where that is another one, as during a roll-out.

    Raises:
        InvalidConfigVersion: the node reports a version that was never made.
    """
    last = wanted if newest is None else newest
    if not 0 <= version <= last:
        raise InvalidConfigVersion(f"cannot take config version {version}: the newest is {last}", newest=last)
    if status is ConfigStatus.FAILED:
        return status
    if version == 0:
        return ConfigStatus.UNKNOWN
    return ConfigStatus.STALE if version < wanted else status


def _render(schema: Schema, facts: Facts, content: str) -> Values:
    return schema.read(cut(content).render(facts)).values
