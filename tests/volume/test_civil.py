"""Civil time against the standard library's."""

from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.volume.civil import LAST, civil


@given(st.floats(0, LAST) | st.integers(0, LAST))
@example(0)
@example(951_782_400)  # 2000-02-29
@example(951_868_799.999)
@example(4_107_542_400)  # 2100-03-01, after a year without leap day
@example(LAST)
def test_it_is_what_datetime_says(utc):
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(utc))
    assert civil(utc) == moment.timetuple()[:6]


@pytest.mark.parametrize("utc", [-1, -0.001, LAST + 1, math.inf, -math.inf, math.nan])
def test_what_has_no_name(utc):
    with pytest.raises(BadInput):
        civil(utc)
