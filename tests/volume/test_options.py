"""The table of options and the texts of their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput, UnknownOption
from svcmgr.volume import OPTIONS, canonical, value
from svcmgr.volume.options import VALUE_MAX

USS, COUNT, METHOD, MOUNT = (
    "features.uss",
    "features.snapshot-max-count",
    "features.snapshot-method",
    "features.snapshot-mount",
)


def test_the_table():
    defaults = {name: option.default for name, option in OPTIONS.items()}
    assert defaults == {
        "features.uss": "off",
        "features.snapshot-view": "on",
        "features.snapshot-mount": "",
        "features.hide-dot-snapshots": "off",
        "features.snapshot-activate-on-create": "on",
        "features.snapshot-method": "auto",
        "features.snapshot-min-free": "5%",
        "features.snapshot-max-count": "1000",
        "diagnostics.snapd-log-level": "info",
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_complete(name):
    option = OPTIONS[name]
    assert option.name == name
    assert canonical(name, option.default) == option.default
    assert option.kinds == {"snapd"}
    assert option.help.endswith(".")


def test_nobody_changes_the_table():
    with pytest.raises(TypeError):
        OPTIONS["features.new"] = OPTIONS[USS]  # type: ignore[index]


@pytest.mark.parametrize("word", ["on", "ON", "yes", "Yes", "true", "enable", "1"])
def test_words_for_on(word):
    assert canonical(USS, word) == "on"
    assert value(USS, word) is True


@pytest.mark.parametrize("word", ["off", "No", "false", "DISABLE", "0"])
def test_words_for_off(word):
    assert canonical(USS, word) == "off"
    assert value(USS, word) is False


@pytest.mark.parametrize(
    ("name", "text", "spelled", "means"),
    [
        (COUNT, "1", "1", 1),
        (COUNT, "00065536", "65536", 65536),
        (METHOD, "Reflink", "reflink", "reflink"),
        (MOUNT, "", "", ""),
        (MOUNT, "/mnt/snaps", "/mnt/snaps", "/mnt/snaps"),
        ("features.snapshot-min-free", "2048 MiB", "2GiB", "2GiB"),
        ("diagnostics.snapd-log-level", "WARNING", "warning", "warning"),
    ],
)
def test_values(name, text, spelled, means):
    assert canonical(name, text) == spelled
    assert value(name, text) == means


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((USS, text) for text in ("", "maybe", "on ", "2", "\uff4fn")),
        *((COUNT, text) for text in ("", "0", "65537", "-1", "+1", "1.0", "1e3", "٣", "1_0", "9" * 5000)),
        *((METHOD, text) for text in ("", "zfs", "auto\n")),
        *((MOUNT, text) for text in ("mnt", "/", "/a/", "/a/../b", "/a\nb")),
        ("features.snapshot-min-free", "100%"),
        ("diagnostics.snapd-log-level", "trace"),
    ],
)
def test_refused_values_name_option_and_value(name, text):
    with pytest.raises(BadInput) as caught:
        canonical(name, text)
    assert caught.value.details["option"] == name
    assert name in caught.value.message


def test_a_refusal_is_short_whatever_was_given():
    with pytest.raises(BadInput) as caught:
        canonical(MOUNT, "/" + "x" * 10_000_000)
    assert len(caught.value.message) < 300
    assert str(VALUE_MAX) in caught.value.message


def test_an_unknown_option_is_told_what_is_near():
    for ask in (canonical, value):
        with pytest.raises(UnknownOption) as caught:
            ask("features.us", "on")
        assert caught.value.details["near"][0] == "features.uss"
    with pytest.raises(UnknownOption) as caught:
        canonical("q" * 1_000_000, "on")
    assert caught.value.details["near"] == []
    assert len(caught.value.message) < 300


@given(
    st.sampled_from(sorted(OPTIONS)),
    st.text(max_size=12) | st.from_regex(r"[0-9]{1,3}(\.[0-9])?[KMGTP%]?(iB)?", fullmatch=True),
)
def test_canonical_is_a_fixed_point(name, text):
    try:
        once = canonical(name, text)
    except BadInput:
        return
    assert canonical(name, once) == once
    assert value(name, once) == value(name, text)
