"""How much of a file system is to stay free: a share of it, a size, or nothing.

Theory of operation. People write shares ("5%") and sizes ("2GiB", "500MB", "1.5T"). Units are those of coreutils (info
coreutils, "Block size"): K and KiB are 1024, KB is 1000. Each amount has one canonical text, and reading that gives
the same amount again, so that texts can be compared instead of amounts. Numbers have few digits, hence thousandths are
exact.
"""

from __future__ import annotations

import re

import attrs

from svcmgr.errors import BadInput
from svcmgr.volume.checks import shown

_PREFIXES = "KMGTP"
_AMOUNT = re.compile(r"(?P<whole>[0-9]{1,15})(?:\.(?P<part>[0-9]{1,3}))? ?(?P<unit>%|[A-Za-z]{0,3})\Z", re.ASCII)
#: Sizes fit into a signed 64-bit integer, as statvfs(3) gives them.
SIZE_MAX = 2**63 - 1

ALLOWED = "a share of the file system such as 5%, a size such as 2GiB or 500MB, or 0"


@attrs.frozen
class Free:
    """At most one of the two is not zero. ``percent``: above 0, below 100, in thousandths. ``bytes``: a size."""

    percent: float = 0.0
    bytes: int = 0

    def of(self, total: int) -> int:
        """Bytes to keep free of a file system of ``total`` bytes, rounded up."""
        return self.bytes or -(-total * round(self.percent * 1000) // 100_000)

    def text(self) -> str:
        """The canonical text: the largest unit that gives a whole number, binary ones first."""
        if self.percent:
            return f"{self.percent:.3f}".rstrip("0").rstrip(".") + "%"
        return _whole(self.bytes, 1024, "iB") or _whole(self.bytes, 1000, "B") or str(self.bytes)


def _whole(size: int, base: int, suffix: str) -> str:
    """``size`` in the largest unit of ``base`` that gives a whole number; "" when none does."""
    unit = ""
    for prefix in _PREFIXES:
        if not size or size % base:
            break
        size, unit = size // base, prefix + suffix
    return f"{size}{unit}" if unit else ""


def parse_free(text: str) -> Free:
    """Read ``text``; a fraction of a byte is dropped. Raises BadInput."""
    match = _AMOUNT.match(text[:40])
    if match is None:
        raise _refused(text)
    thousandths = int(match["whole"]) * 1000 + int((match["part"] or "").ljust(3, "0"))
    if match["unit"] == "%":
        if thousandths >= 100_000:
            raise BadInput(f"cannot keep {text} free: a share is below 100%, and nothing could be written", value=text)
        return Free(percent=thousandths / 1000)
    size = thousandths * _factor(match["unit"], text) // 1000
    if size > SIZE_MAX:
        raise BadInput(f"cannot keep {text} free: the limit is {SIZE_MAX} bytes", value=text)
    return Free(bytes=size)


def _factor(unit: str, text: str) -> int:
    if unit.upper() in ("", "B"):
        return 1
    power = _PREFIXES.find(unit[0].upper()) + 1
    if power and unit[1:] in ("", "iB"):
        return 1 << 10 * power
    if power and unit[1:] == "B":
        return int(1000**power)
    raise _refused(text)


def _refused(text: str) -> BadInput:
    return BadInput(f"cannot read {shown(text)}: give {ALLOWED}", value=text[:40])
