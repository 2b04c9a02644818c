"""Tags: keys with values on nodes and hosts.

Theory of operation. A list of tags is a map in the order of its keys. Given tags are applied to it whole or not at all.
The rules are those of deepseek-ai/3FS (setNodeTags, setUniversalTags); limits and allowed characters are ours, since
tags are shown in tables, sorted, and matched by selectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from svcmgr.services.mgmtd.errors import InvalidTag
from svcmgr.services.mgmtd.states import TagMode

#: A node with this tag must not be used.
DISABLE = "Disable"
#: Where a node is, for those who read from the nearest.
TRAFFIC_ZONE = "TrafficZone"

KEY_MAX = 128
VALUE_MAX = 1024
TAGS_MAX = 256

_SEPARATORS = re.compile(r"[\x00-\x20\x7f=,]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@attrs.frozen(order=True)
class TagPair:
    """One tag. Raises InvalidTag: an empty or long key, a separator in it, a long or unprintable value."""

    key: str
    value: str = ""

    def __attrs_post_init__(self) -> None:
        if not 0 < len(self.key) <= KEY_MAX or _SEPARATORS.search(self.key) or _CONTROL.search(self.key):
            raise InvalidTag(
                f"cannot use {self.key[:40]!r} as key of a tag: give 1 to {KEY_MAX} characters without blanks, '=', ','"
            )
        if len(self.value) > VALUE_MAX or _CONTROL.search(self.value):
            raise InvalidTag(
                f"cannot use {self.value[:40]!r} as value of tag {self.key}: give printable text of at most "
                f"{VALUE_MAX} characters"
            )

    def __str__(self) -> str:
        return f"{self.key}={self.value}" if self.value else self.key


Tags = tuple[TagPair, ...]


def parse_tag(text: str) -> TagPair:
    """``key`` or ``key=value``. Raises InvalidTag."""
    key, _, value = text.partition("=")
    return TagPair(key, value)


def set_tags(tags: Iterable[TagPair], given: Iterable[TagPair], mode: TagMode) -> Tags:
    """The new tags, sorted by key; of a key given twice the last one counts.

    Raises:
        InvalidTag: a value where a tag is to be removed, or more than TAGS_MAX tags afterwards.
    """
    asked = tuple(given)
    kept = {} if mode is TagMode.REPLACE else {tag.key: tag for tag in tags}
    if mode is TagMode.REMOVE:
        _removable(asked)
        for tag in asked:
            kept.pop(tag.key, None)
    else:
        kept.update({tag.key: tag for tag in asked})
    if len(kept) > TAGS_MAX:
        raise InvalidTag(f"cannot set {len(kept)} tags: the limit is {TAGS_MAX}")
    return tuple(kept[key] for key in sorted(kept))


def _removable(asked: Iterable[TagPair]) -> None:
    for tag in asked:
        if tag.value:
            raise InvalidTag(f"cannot remove tag {tag}: give the key {tag.key!r} alone, whatever its value is")


def value_of(tags: Iterable[TagPair], key: str) -> str | None:
    """The value of the tag with this key; None when there is none."""
    return next((tag.value for tag in tags if tag.key == key), None)
