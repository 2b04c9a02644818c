"""Where the keys of a TOML text stand, whatever the text looks like."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.services.mgmtd.config.places import places


def spots(text: str) -> dict[str, tuple[int, int]]:
    tomllib.loads(text)  # only valid texts are ever looked at
    return {".".join(path): (place.line, place.column) for path, place in places(text).items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a = 1\r\n  b = 2", {"a": (1, 1), "b": (2, 3)}),
        ("a.b.c = 1", {"a": (1, 1), "a.b": (1, 1), "a.b.c": (1, 1)}),
        ("[t]\na = 1\n[t.u]\nb = 2", {"t": (1, 2), "t.a": (2, 1), "t.u": (3, 2), "t.u.b": (4, 1)}),
        ("[[t]]\na = 1\n[[t]]\na = 2", {"t": (1, 3), "t.a": (2, 1)}),
        (
            "a = {b = 1, c = {d = 2}, e = 3}",
            {"a": (1, 1), "a.b": (1, 6), "a.c": (1, 13), "a.c.d": (1, 18), "a.e": (1, 26)},
        ),
        ("a = [1, [2, 3], {b = 4}, {b = 5}]\nc = 1", {"a": (1, 1), "a.b": (1, 18), "c": (2, 1)}),
        ("a = [\n  1, # b = 2\n  3,\n]\nc = 4", {"a": (1, 1), "c": (5, 1)}),
        ('a = """\nb = 1\n"""\nc = 2', {"a": (1, 1), "c": (4, 1)}),
        ('a = """x"""""\nc = 2', {"a": (1, 1), "c": (2, 1)}),
        ("a = '''\n\\'''\nc = 2", {"a": (1, 1), "c": (3, 1)}),
        ('a = "\\"b = 1" # c = 1\nd = 2', {"a": (1, 1), "d": (2, 1)}),
        ("\"a b\".'c' = 1", {"a b": (1, 1), "a b.c": (1, 1)}),
        ('"\\u0061" = 1', {"a": (1, 1)}),
        ("a = 1979-05-27 07:32:00\nb = 3.14\nc = 2", {"a": (1, 1), "b": (2, 1), "c": (3, 1)}),
        ("[ a . b ]\n  c = 1", {"a": (1, 3), "a.b": (1, 3), "a.b.c": (2, 3)}),
        ("3 = 1\n[4]\n5.6 = 7", {"3": (1, 1), "4": (2, 2), "4.5": (3, 1), "4.5.6": (3, 1)}),
        ("a = {}\nb = []\nc = [[]]\nd = [{}]", {"a": (1, 1), "b": (2, 1), "c": (3, 1), "d": (4, 1)}),
    ],
)
def test_every_key_is_found_where_it_is_first_written(text, expected):
    assert spots(text) == expected


NAME = st.sampled_from(["a", "b", "long-one", '"q.r"', "'#'", '"= ["', "12"])
VALUE = st.recursive(
    st.sampled_from(
        ["1", "-2.5", "true", '"a = [b"', "'{'", '"""x\n]y"""', "'''#\n'''", "1979-05-27", '"\\\\"', '""""""']
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: f"[ # x = 1\n {', '.join(items)},\n]"),
        st.dictionaries(NAME, inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        ),
    ),
    max_leaves=8,
)
TABLE = st.dictionaries(NAME, VALUE, max_size=4)


@given(TABLE, st.lists(st.tuples(st.sampled_from(["[t{}]", "[[l{}]]", "[ t{} . 'u' ]"]), TABLE), max_size=3))
def test_every_key_that_tomllib_reads_has_a_place_and_it_is_a_key(first, tables):
    lines = [f"{key} = {value}" for key, value in first.items()]
    for number, (header, table) in enumerate(tables):
        lines += [header.format(number), *(f" {key}={value} # end" for key, value in table.items())]
    text = "\n".join(lines)
    found = places(text)
    assert set(found) == set(walk(tomllib.loads(text), ()))
    rows = text.split("\n")
    for path, place in found.items():
        rest = rows[place.line - 1][place.column - 1 :]
        assert rest.lstrip("\"'").startswith(path[-1]) or path[-1] in rest, (path, place)


def walk(value: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The paths of all tables and keys; what is in a list has the path of the list."""
    if isinstance(value, list):
        return [found for item in value for found in walk(item, path) if found != path]
    if not isinstance(value, dict):
        return []
    return [found for key, item in value.items() for found in ((*path, key), *walk(item, (*path, key)))]
