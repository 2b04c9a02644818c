"""One version of a node type's configuration, and what an operator proposes as the next one."""

from __future__ import annotations

import hashlib
import math

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.document import check_size

#: 64 bits, as in deepseek-ai/3FS, src/fbs/mgmtd/MgmtdTypes.h.
VERSION_MAX = 2**64 - 1
DESC_MAX = 1_000
AUTHOR_MAX = 200


def digest(content: str) -> str:
    """SHA-256 of the text in UTF-8, as 64 hex digits."""
    return hashlib.sha256(content.encode()).hexdigest()


def _note(what: str, most: int, text: str) -> str:
    """``text`` itself if it is one printable line of at most ``most`` characters. Raises BadInput."""
    if len(text) > most or not text.isprintable():
        raise BadInput(f"cannot use {text[:40]!r} as {what}: give one line of at most {most} printable characters")
    return text


@attrs.frozen
class Proposal:
    """A text that somebody wants to be the next version. Raises BadInput."""

    content: str
    author: str = ""
    desc: str = ""

    def __attrs_post_init__(self) -> None:
        check_size(self.content)
        _note("author", AUTHOR_MAX, self.author)
        _note("description", DESC_MAX, self.desc)


@attrs.frozen
class ConfigVersion:
    """One version, which never changes: ``created`` is UTC seconds, ``hash`` the digest of the content.

    ``origin`` says what made it when it was not an upload: ``rollback of 2 to 1``. Raises BadInput when it contradicts
    itself, as one that was damaged on its way does.
    """

    version: int
    proposal: Proposal
    created: float
    hash: str
    origin: str = ""

    def __attrs_post_init__(self) -> None:
        if type(self.version) is not int or not 0 <= self.version <= VERSION_MAX:
            raise BadInput(f"cannot use {str(self.version)[:40]} as config version: give a number of 64 bits")
        if not math.isfinite(self.created):
            raise BadInput(f"cannot use config version {self.version}: its time is {self.created}")
        if digest(self.content) != self.hash:
            raise BadInput(f"cannot use config version {self.version}: its content is not what its hash says")
        _note("origin", DESC_MAX, self.origin)

    @classmethod
    def make(cls, version: int, proposal: Proposal, now: float, origin: str = "") -> ConfigVersion:
        """A new one with the hash of its content; ``now`` is UTC seconds."""
        return cls(version, proposal, now, digest(proposal.content), origin)

    @property
    def content(self) -> str:
        return self.proposal.content

    @property
    def author(self) -> str:
        return self.proposal.author

    @property
    def desc(self) -> str:
        return self.proposal.desc


#: What every node type has from the beginning.
BUILT_IN = ConfigVersion.make(0, Proposal("", "", "built-in defaults"), 0.0)
