"""Civil time in UTC from seconds since the epoch, by arithmetic alone.

Theory of operation. POSIX time has days of 86,400 seconds (POSIX, section 4.19), so the time of day is a division. The
Gregorian calendar repeats every 400 years, which are 146,097 days; with the year beginning in March the leap day is the
last one, and the months before it follow one linear formula (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
civil_from_days).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from svcmgr.errors import BadInput

_DAY = 86_400
_ERA_DAYS = 146_097
#: Days from 0000-03-01, where eras begin, to 1970-01-01.
_EPOCH = 719_468

#: The last second of the year 9999: four digits are what RFC 3339 has for a year.
LAST = 253_402_300_799


class Civil(NamedTuple):
    """A second of UTC; ``month`` and ``day`` count from 1."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int


def civil(utc: float) -> Civil:
    """The second that ``utc`` seconds since the epoch are in. Raises BadInput before 1970 and after 9999."""
    if not (math.isfinite(utc) and 0 <= utc < LAST + 1):
        raise BadInput(f"cannot name the time {utc}: set the clock to a year from 1970 to 9999")
    days, rest = divmod(int(utc), _DAY)
    era, day = divmod(days + _EPOCH, _ERA_DAYS)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    march = (5 * day + 2) // 153
    month = march + 3 if march < 10 else march - 9
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return Civil(era * 400 + year + (month <= 2), month, day - (153 * march + 2) // 5 + 1, hour, minute, second)
