"""What can be set on a volume: one table of all options, and how their values are written and read.

Theory of operation. A value is text, as the operator wrote it; the table knows for each option what it may be, its one
canonical spelling, and its default. A volume keeps canonical texts of what was set and nothing else, so that a changed
default reaches every volume that never chose, and equal texts mean equal values. ``kinds`` names the service kinds
whose managers a change calls; no other service hears of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import attrs

from svcmgr.errors import BadInput, UnknownOption
from svcmgr.volume.checks import check_directory, shown
from svcmgr.volume.free import ALLOWED as FREE_ALLOWED
from svcmgr.volume.free import parse_free

USS = "features.uss"
VIEW = "features.snapshot-view"
MOUNT = "features.snapshot-mount"
HIDE_DOT = "features.hide-dot-snapshots"
ACTIVATE = "features.snapshot-activate-on-create"
METHOD = "features.snapshot-method"
MIN_FREE = "features.snapshot-min-free"
MAX_COUNT = "features.snapshot-max-count"
LOG_LEVEL = "diagnostics.snapd-log-level"

#: Longest value that is looked at, characters: a path has at most 4095 bytes (limits.h(0p)).
VALUE_MAX = 4096

#: The words GlusterFS takes for a boolean (glusterfs: libglusterfs/src/common-utils.c, gf_string2boolean).
_BOOLEANS = MappingProxyType(
    dict.fromkeys(("on", "yes", "true", "enable", "1"), "on")
    | dict.fromkeys(("off", "no", "false", "disable", "0"), "off")
)


@attrs.frozen
class Option:
    """One option.

    ``type``: bool, int, choice, path or free. ``default``: canonical text. ``kinds``: service kinds that must react.
    ``check``: the canonical text of a value; raises ValueError with what is allowed.
    """

    name: str
    type: str
    default: str
    kinds: frozenset[str]
    help: str
    check: Callable[[str], str]


def _boolean(text: str) -> str:
    found = _BOOLEANS.get(text.lower())
    if found is None:
        raise ValueError("on or off")
    return found


def _choice(*allowed: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text.lower()

    return check


def _integer(least: int, most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return str(int(text))

    return check


def _free(text: str) -> str:
    try:
        return parse_free(text).text()
    except BadInput:
        raise ValueError(FREE_ALLOWED) from None


def _path(text: str) -> str:
    try:
        return check_directory(text, "mount point") if text else ""
    except BadInput as error:
        raise ValueError(f"empty, or an absolute directory in normal form ({error.message})") from None


_SNAPD = frozenset({"snapd"})


def _table(*rows: Option) -> Mapping[str, Option]:
    return MappingProxyType({row.name: row for row in rows})


#: Every option there is. Names that GlusterFS has too mean what they mean there
#: (glusterfs: xlators/mgmt/glusterd/src/glusterd-volume-set.c).
OPTIONS: Mapping[str, Option] = _table(
    Option(
        USS, "bool", "off", _SNAPD, "Run snapd for this volume: take snapshots and let its users read them.", _boolean
    ),
    Option(
        VIEW,
        "bool",
        "on",
        _SNAPD,
        "Mount the activated snapshots read-only. A change restarts snapd, not the volume.",
        _boolean,
    ),
    Option(
        MOUNT,
        "path",
        "",
        _SNAPD,
        "Where the activated snapshots are mounted; empty: snaps/VOLUME in the run directory.",
        _path,
    ),
    Option(
        HIDE_DOT,
        "bool",
        "off",
        _SNAPD,
        "Leave snapshots whose name starts with a dot out of listings of the mount.",
        _boolean,
    ),
    Option(
        ACTIVATE, "bool", "on", _SNAPD, "Activate a snapshot when it is taken, so that the mount shows it.", _boolean
    ),
    Option(
        METHOD,
        "choice",
        "auto",
        _SNAPD,
        "How snapshots are taken; auto takes the best that the file system of the bricks can do.",
        _choice("auto", "btrfs", "reflink", "copy"),
    ),
    Option(
        MIN_FREE,
        "free",
        "5%",
        _SNAPD,
        "Take no snapshot when less than this is free: a share, a size, or 0 for no guard.",
        _free,
    ),
    Option(MAX_COUNT, "int", "1000", _SNAPD, "Most snapshots a volume may have.", _integer(1, 65536)),
    Option(LOG_LEVEL, "choice", "info", _SNAPD, "How much snapd logs.", _choice("debug", "info", "warning", "error")),
)


def near(name: str, known: Iterable[str]) -> list[str]:
    """At most three of ``known`` that ``name`` may have been meant to be, the likeliest first."""
    return difflib.get_close_matches(name[:200], list(known), 3, 0.5)


def find(name: str) -> Option:
    """The option of that name. Raises UnknownOption, with near names."""
    option = OPTIONS.get(name)
    if option is None:
        close = near(name, OPTIONS)
        hint = f"did you mean {' or '.join(close)}?" if close else "svcmgr volume options lists them all"
        raise UnknownOption(f"cannot find volume option {shown(name)}: {hint}", near=close)
    return option


def canonical(name: str, text: str) -> str:
    """The one spelling of this value of option ``name``. Raises UnknownOption, BadInput."""
    option = find(name)
    if len(text) > VALUE_MAX:
        raise BadInput(
            f"cannot set {name}: the value has {len(text)} characters, the limit is {VALUE_MAX}", option=name
        )
    try:
        return option.check(text)
    except ValueError as error:
        raise BadInput(
            f"cannot set {name} to {shown(text)}: it must be {error}", option=name, value=text[:200]
        ) from None


def value(name: str, text: str) -> bool | int | str:
    """``text`` of option ``name`` as what it means: bool, int or str. Raises UnknownOption, BadInput."""
    text = canonical(name, text)
    kind = OPTIONS[name].type
    if kind == "bool":
        return text == "on"
    return int(text) if kind == "int" else text
