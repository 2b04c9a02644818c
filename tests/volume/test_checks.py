"""Directories and ids, by text alone."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.volume.checks import ancestors, check_directory, check_uuid, holder, printable, shown

LONGEST = "/" + "/".join(["d" * 255] * 15) + "/" + "e" * 254


@pytest.mark.parametrize("path", ["/a", "/a/b.c", "/...", "/a b", "/é", "/.hidden", "/" + "d" * 255, LONGEST])
def test_directories_in_normal_form(path):
    assert check_directory(path, "brick") == path


@pytest.mark.parametrize(
    "path",
    ["", "/", "a", "./a", "//a", "/a/", "/a//b", "/.", "/a/.", "/a/..", "/../a", "/a\0",
     "/a\nb", "/a\rb", "/a\x7f", "/\udc80",
     "/" + "d" * 256, "/" + "é" * 128, LONGEST + "e"],
)  # fmt: skip
def test_other_directories(path):
    with pytest.raises(BadInput):
        check_directory(path, "brick")


@given(st.text(st.sampled_from("ab./"), max_size=8))
def test_what_is_taken_is_what_posix_calls_normal(path):
    normal = path.startswith("/") and not path.startswith("//") and path != "/" and posixpath.normpath(path) == path
    try:
        check_directory(path, "brick")
    except BadInput:
        assert not normal
    else:
        assert normal


def test_ancestors_are_nearest_first_and_without_the_root():
    assert list(ancestors("/a/b/c")) == ["/a/b", "/a"]
    assert list(ancestors("/a")) == []


@pytest.mark.parametrize(
    ("path", "above"), [("/a/b", "/a/b"), ("/a/b/c", "/a/b"), ("/a/bc", None), ("/a", None), ("/x/y/z", "/x")]
)
def test_who_holds_a_path(path, above):
    assert holder(path, {"/a/b", "/x"}) == above


def test_uuids():
    good = "123e4567-e89b-42d3-a456-426614174000"
    assert check_uuid(good, "id") == good
    for bad in (
        "",
        good.upper(),
        good[:-1],
        good + "0",
        good + "\n",
        f"{{{good}}}",
        good.replace("-", ""),
        "../" + good[3:],
    ):
        with pytest.raises(BadInput):
            check_uuid(bad, "id")


def test_what_is_shown_is_short_and_quoted():
    assert shown("a\n") == r"'a\n'"
    assert len(shown("x" * 10_000)) < 100


def test_printable():
    assert printable("é\U0001f4be")
    assert not any(map(printable, ("\x1b[0m", "\x7f", "\udc80")))
