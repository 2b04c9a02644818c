"""Dates from seconds, by arithmetic: pure modules have no calendar to ask.

Theory of operation. UTC seconds count 86,400 for every day, so a day is a division. A date comes from the count of days
by the proleptic Gregorian calendar with the year beginning in March, which puts the leap day last and makes the months
before it a linear function: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
https://howardhinnant.github.io/date_algorithms.html#civil_from_days.
"""

from __future__ import annotations

import math

DAY_S = 86_400
#: Days from 0000-03-01 to 1970-01-01, and days of the 400 years after which the calendar repeats.
_EPOCH_DAYS = 719_468
_ERA_DAYS = 146_097


def date(utc: float) -> tuple[int, int, int]:
    """Year, month (1 to 12) and day (1 to 31) of a moment."""
    days = math.floor(utc / DAY_S) + _EPOCH_DAYS
    era, day_of_era = divmod(days, _ERA_DAYS)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153  # March is 0
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


def stamp(utc: float) -> str:
    """A moment as part of a file name: ``2026-11-26T20-00-00Z``. Fractions of a second are dropped."""
    year, month, day = date(utc)
    seconds = math.floor(utc) % DAY_S
    return f"{year:04}-{month:02}-{day:02}T{seconds // 3600:02}-{seconds // 60 % 60:02}-{seconds % 60:02}Z"
