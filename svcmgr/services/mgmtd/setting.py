"""One version of the configuration of a node type, and how versions follow each other.

Theory of operation. Versions count from 1 for each node type and are never changed. Setting the text that is in force
already makes no version, unless forced. Going back makes a new version with the old text, which says where it is from.
Version 0 is the built-in empty configuration and is not stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.errors import InvalidConfigVersion
from svcmgr.services.mgmtd.states import NodeType

#: Longest text, bytes of UTF-8; longest description and author, characters.
CONTENT_MAX, DESC_MAX, AUTHOR_MAX = 256 * 1024, 1000, 255


@attrs.frozen(kw_only=True)
class ConfigVersion:
    """``created`` in UTC seconds; ``digest`` is the SHA-256 of the content in hexadecimal digits."""

    type: NodeType
    version: int
    content: str
    digest: str = ""
    desc: str = ""
    author: str = ""
    created: float = 0.0
    origin: str = ""


@attrs.frozen(kw_only=True)
class Wish:
    """A configuration that is asked for."""

    type: NodeType
    content: str
    desc: str = ""
    author: str = ""
    force: bool = False


Versions = Mapping[int, ConfigVersion]


def newest(type_: NodeType, versions: Versions) -> ConfigVersion:
    """The one of the highest version; version 0 where none was ever set."""
    return versions[max(versions)] if versions else ConfigVersion(type=type_, version=0, content="")


def next_version(wish: Wish, versions: Versions, utc: float, origin: str = "") -> ConfigVersion:
    """The version to store, or the newest one itself when it says the same.

    Raises:
        BadInput: text, description or author are too long, or cannot be stored.
    """
    current = newest(wish.type, versions)
    content = _encoded(wish)
    if versions and current.content == wish.content and not wish.force:
        return current
    return ConfigVersion(
        type=wish.type,
        version=current.version + 1,
        content=wish.content,
        digest=hashlib.sha256(content).hexdigest(),
        desc=wish.desc,
        author=wish.author,
        created=utc,
        origin=origin,
    )


def _encoded(wish: Wish) -> bytes:
    try:
        content, _, _ = wish.content.encode(), wish.desc.encode(), wish.author.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"cannot store this configuration of {wish.type.name}: {error.reason}") from None
    for size, most, what in (
        (len(content), CONTENT_MAX, "bytes"),
        (len(wish.desc), DESC_MAX, "characters of description"),
        (len(wish.author), AUTHOR_MAX, "characters of author"),
    ):
        if size > most:
            raise BadInput(f"cannot store {size} {what} for {wish.type.name}: give at most {most}", limit=most)
    return content


def rollback(type_: NodeType, version: int, author: str, versions: Versions, utc: float) -> ConfigVersion:
    """An old version as a new one; the newest itself if its text is the same.

    Raises:
        InvalidConfigVersion: there is no such version.
    """
    current = newest(type_, versions)
    old = versions.get(version)
    if old is None:
        raise InvalidConfigVersion(
            f"cannot roll {type_.name} back to version {version}: there is none; the newest is {current.version}",
            newest=current.version,
        )
    wish = Wish(type=type_, content=old.content, desc=old.desc, author=author)
    return next_version(wish, versions, utc, f"rollback of {current.version} to {version}")


def check_known(type_: NodeType, version: int, versions: Versions) -> None:
    """Raises InvalidConfigVersion: somebody claims a version above the newest."""
    top = newest(type_, versions).version
    if version > top:
        raise InvalidConfigVersion(
            f"cannot accept configuration version {version} of {type_.name}: the newest is {top}", newest=top
        )
