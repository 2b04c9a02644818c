"""How much is to stay free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.volume import Free, parse_free
from svcmgr.volume.free import SIZE_MAX

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "free", "canonical"),
    [
        ("5%", Free(percent=5), "5%"),
        ("5 %", Free(percent=5), "5%"),
        ("0.5%", Free(percent=0.5), "0.5%"),
        ("99.999%", Free(percent=99.999), "99.999%"),
        ("012.50%", Free(percent=12.5), "12.5%"),
        ("0", Free(), "0"),
        ("0%", Free(), "0"),
        ("0GiB", Free(), "0"),
        ("1", Free(bytes=1), "1"),
        ("1023", Free(bytes=1023), "1023"),
        ("1024B", Free(bytes=1024), "1KiB"),
        ("2GiB", Free(bytes=2 * GIB), "2GiB"),
        ("2g", Free(bytes=2 * GIB), "2GiB"),
        ("2 G", Free(bytes=2 * GIB), "2GiB"),
        ("1.5T", Free(bytes=1536 * GIB), "1536GiB"),
        ("500MB", Free(bytes=500_000_000), "500MB"),
        ("1.001kB", Free(bytes=1001), "1001"),
        ("0.5B", Free(), "0"),
        ("8191PiB", Free(bytes=8191 << 50), "8191PiB"),
    ],
)
def test_texts(text, free, canonical):
    assert parse_free(text) == free
    assert free.text() == canonical


@pytest.mark.parametrize(
    "text",
    ["", " ", "%", "-1", "+1", "1e3", "100%", "100.001%", "1000%", "5%%", "5percent", "GiB", "1GiBs", "1Gb", "1iB",
     "1KI", "1 E", "1_000", "٣", "1.2345", "1.", ".5", "8192PiB", "9" * 16, "1\n", "1" * 10_000_000, "nan", "inf"],
)  # fmt: skip
def test_other_texts(text):
    with pytest.raises(BadInput):
        parse_free(text)


@given(
    st.builds(Free, bytes=st.integers(0, 10**15 - 1))
    | st.builds(lambda n: Free(percent=n / 1000), st.integers(1, 99_999))
)
def test_the_canonical_text_is_the_amount(free):
    assert parse_free(free.text()) == free


@pytest.mark.parametrize(
    ("free", "total", "kept"),
    [
        (Free(percent=5), 1000, 50),
        (Free(percent=0.5), 1001, 6),
        (Free(bytes=7), 5, 7),
        (Free(), 1000, 0),
        (Free(percent=50), 0, 0),
    ],
)
def test_what_is_kept_of_a_file_system(free, total, kept):
    assert free.of(total) == kept


def test_the_largest_size_is_64_bits():
    assert parse_free("8191.999PiB").bytes <= SIZE_MAX
