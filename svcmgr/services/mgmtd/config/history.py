"""The versions of one node type's configuration.

Theory of operation. Versions are only added, with the next number, and never changed, so a number means one text for
ever. Version 0 is the built-in empty text: it is always there and no upload makes it. A node takes only what is newer
than what it has, hence going back is going forward: a rollback makes a new version with an old content, and says so.
The newest version is never pruned, so no number is given twice. Numbers may have gaps.

The same text twice in a row would make every node of the type do work for nothing and is suppressed unless it is
forced. What is compared is the text, by its hash; another spelling of the same values is another text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.version import BUILT_IN, VERSION_MAX, ConfigVersion, Proposal, digest
from svcmgr.services.mgmtd.errors import InvalidConfigVersion


@attrs.frozen
class Retention:
    """What pruning keeps besides what is referenced: the newest ``count``, and all younger than ``age_s`` seconds."""

    count: int = 10
    age_s: float = 90 * 86400.0

    def __attrs_post_init__(self) -> None:
        if self.count < 1 or not self.age_s >= 0:
            raise BadInput(f"cannot keep {self.count} versions for {self.age_s} s: keep at least one, for 0 s or more")


@attrs.frozen
class History:
    """Versions in order, the newest last. Raises BadInput when they are not in order or one is version 0."""

    node_type: str
    versions: tuple[ConfigVersion, ...] = ()
    _numbers: tuple[int, ...] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        numbers = tuple(each.version for each in self.versions)
        if list(numbers) != sorted({*numbers} - {0}):
            raise BadInput(f"cannot use the config versions of {self.node_type}: they are not in order from 1 on")
        object.__setattr__(self, "_numbers", numbers)

    @property
    def newest(self) -> ConfigVersion:
        """The newest version; the built-in one when there is none."""
        return self.versions[-1] if self.versions else BUILT_IN

    def find(self, version: int) -> ConfigVersion | None:
        """Exactly that version, or None."""
        if version == 0:
            return BUILT_IN
        index = bisect_left(self._numbers, version)
        return self.versions[index] if index < len(self._numbers) and self._numbers[index] == version else None

    def need(self, version: int) -> ConfigVersion:
        """Exactly that version. Raises InvalidConfigVersion."""
        found = self.find(version)
        if found is None:
            raise self._no(
                version, "it is not stored; it may have been pruned" if version <= self.newest.version else ""
            )
        return found

    def newer(self, version: int, offered: int | None = None) -> ConfigVersion | None:
        """What a node with ``version`` should get: the newest, or what a roll-out has ``offered``, if that is newer.

        Raises:
            InvalidConfigVersion: the node claims a version that was never made.
        """
        if not 0 <= version <= self.newest.version:
            raise self._no(version, "")
        wanted = self.newest if offered is None else self.need(offered)
        return wanted if wanted.version > version else None

    def set(self, proposal: Proposal, now: float, *, force: bool = False) -> History:
        """With the proposal as the newest version; itself if that has the same text and ``force`` is not given.

        ``now`` is UTC seconds. The content is not validated here: see ``checking``.
        """
        if self.versions and self.newest.hash == digest(proposal.content) and not force:
            return self
        return self._with(proposal, now, "")

    def rollback(self, to: int, author: str, now: float) -> History:
        """With the content of version ``to`` as the newest one.

        Raises:
            InvalidConfigVersion: there is no such version.
            BadInput: it is the newest one.
        """
        old, newest = self.need(to), self.newest
        if old.version == newest.version:
            raise BadInput(f"cannot roll {self.node_type} back to version {to}: it is the newest; name an older one")
        return self._with(Proposal(old.content, author, old.desc), now, f"rollback of {newest.version} to {to}")

    def prunable(self, retention: Retention, referenced: Collection[int], now: float) -> tuple[int, ...]:
        """Versions that nobody needs. ``referenced``: what nodes, sessions and roll-outs have; ``now``: UTC seconds."""
        old = self.versions[: -retention.count]
        kept = set(referenced)
        return tuple(each.version for each in old if each.version not in kept and now - each.created > retention.age_s)

    def without(self, versions: Collection[int]) -> History:
        """Without some versions. Raises BadInput for the newest one, whose number would be given again."""
        if self.newest.version in versions:
            raise BadInput(f"cannot delete version {self.newest.version} of {self.node_type}: it is the newest")
        return attrs.evolve(self, versions=tuple(each for each in self.versions if each.version not in versions))

    def _with(self, proposal: Proposal, now: float, origin: str) -> History:
        number = self.newest.version + 1
        if number > VERSION_MAX:
            raise BadInput(f"cannot make another config version of {self.node_type}: all numbers are used")
        return attrs.evolve(self, versions=(*self.versions, ConfigVersion.make(number, proposal, now, origin)))

    def _no(self, version: int, reason: str) -> InvalidConfigVersion:
        newest = self.newest.version
        reason = reason or f"the newest is {newest}"
        return InvalidConfigVersion(
            f"cannot find config version {version} of {self.node_type}: {reason}", newest=newest
        )
