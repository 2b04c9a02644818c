"""What snapd is told by its volfile; docs/volfile.md has the block types and their options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from svcmgr.errors import BadInput, BadVolfile
from svcmgr.volume import Free, Graph, Node, parse, parse_free

AUTO = "auto"
METHODS = (AUTO, "btrfs", "reflink", "copy")
LEVELS = ("debug", "info", "warning", "error")
#: What the options of the snapshots block say about snapd's own place; all others are the volume's.
_OF_PLACE = frozenset({"volume", "volume-id", "store"})


@attrs.frozen
class Settings:
    """One configuration. ``mount`` None: the volume wants no view. ``options``: those of the volume, as text."""

    volume: str
    volume_id: str
    bricks: tuple[Path, ...]
    store: Path
    method: str
    min_free: Free
    max_count: int
    activate_on_create: bool
    log_level: str
    mount: Path | None
    hide_dot: bool
    options: Mapping[str, str]

    @classmethod
    def from_volfile(cls, text: str) -> Settings:
        """Read ``text``.

        Raises:
            BadVolfile: it is no volfile, or not one for snapd.
        """
        graph = parse(text)
        snapshots = _only(graph, "features/snapshots")
        view = next((node for node in graph.nodes if node.type == "mount/fuse"), None)
        given = dict(snapshots.options)
        shown = dict(view.options) if view else {}
        try:
            return cls(
                volume=_need(given, "volume"),
                volume_id=_need(given, "volume-id"),
                bricks=tuple(_brick(graph, name) for name in snapshots.subvolumes),
                store=_path(_need(given, "store")),
                method=_word(given, "method", METHODS),
                min_free=parse_free(_need(given, "min-free")),
                max_count=_number(given, "max-count"),
                activate_on_create=_flag(given, "activate-on-create"),
                log_level=_word(given, "log-level", LEVELS),
                mount=_path(_need(shown, "mount-point")) if view else None,
                hide_dot=_flag(shown, "hide-dot") if view else False,
                options={key: value for key, value in given.items() if key not in _OF_PLACE},
            )
        except BadVolfile:
            raise
        except BadInput as error:
            raise BadVolfile(error.message) from error

    def differs_in_shape(self, other: Settings) -> str:
        """What of ``other`` a running snapd cannot take over; "" if it can."""
        for fact in ("volume_id", "volume", "bricks", "store"):
            if getattr(self, fact) != getattr(other, fact):
                return fact.replace("_", "-")
        return ""


def _only(graph: Graph, kind: str) -> Node:
    found = [node for node in graph.nodes if node.type == kind]
    if len(found) != 1:
        raise BadVolfile(f"cannot use this volfile for snapd: it has {len(found)} blocks of type {kind}, one is needed")
    return found[0]


def _brick(graph: Graph, name: str) -> Path:
    node = graph.node(name)
    return _path(_need(dict(node.options) if node else {}, "directory"))


def _need(options: Mapping[str, str], key: str) -> str:
    value = options.get(key, "")
    if not value:
        raise BadVolfile(f"cannot use this volfile for snapd: option {key} is missing", option=key)
    return value


def _path(text: str) -> Path:
    if not text.startswith("/"):
        raise BadVolfile(f"cannot use {text!r} in a volfile of snapd: it must be an absolute path")
    return Path(text)


def _word(options: Mapping[str, str], key: str, allowed: tuple[str, ...]) -> str:
    value = _need(options, key)
    if value not in allowed:
        raise BadVolfile(f"cannot use {key} {value!r} in a volfile of snapd: it must be one of {', '.join(allowed)}")
    return value


def _flag(options: Mapping[str, str], key: str) -> bool:
    return _word(options, key, ("on", "off")) == "on"


def _number(options: Mapping[str, str], key: str) -> int:
    value = _need(options, key)
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) >= 1):
        raise BadVolfile(f"cannot use {key} {value!r} in a volfile of snapd: it must be a number of at least 1")
    return int(value)
