"""Text for terminals: widths, columns that are left out, control characters, colour."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.cli import render
from svcmgr.cli.render import Column


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-3, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86400 * 2.125, "2d03h")],
)
def test_durations_use_the_two_largest_units(seconds, text):
    assert render.duration(seconds) == text


def test_a_table_aligns_and_marks_empty_cells():
    lines, left_out = render.table([Column("NAME"), Column("PID", right=True)], [["web", "7"], ["a", ""]])
    assert lines == ["NAME  PID", "web     7", "a       -"]
    assert left_out == []


def test_wide_characters_keep_columns_aligned():
    lines, _ = render.table([Column("NAME"), Column("X")], [["日本", "1"], ["abcd", "2"]])
    assert lines[1] == "日本  1"
    assert lines[2] == "abcd  2"


def test_columns_are_left_out_by_rank_and_named():
    columns = [Column("A"), Column("B", 1), Column("C", 2)]
    row = [["x" * 10, "y" * 10, "z" * 10]]
    assert render.table(columns, row, room=34)[1] == []
    assert render.table(columns, row, room=33)[1] == ["C"]
    assert render.table(columns, row, room=11)[1] == ["B", "C"]
    assert render.table(columns, row, room=1)[0][1] == "x" * 10


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6), st.integers(1, 80))
def test_a_table_has_one_line_per_row_whatever_the_text(rows, room):
    lines, _ = render.table([Column("A"), Column("B", 1)], rows, room=room)
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


@given(st.text())
def test_clean_text_is_printable_and_printable_text_is_kept(text):
    assert render.clean(text).isprintable()
    if text.isprintable():
        assert render.clean(text) == text


def test_escape_sequences_of_others_do_not_reach_a_terminal():
    assert render.clean("a\x1b[31mb\nc\td") == "a\\x1b[31mb\\nc d"


def test_colour_only_on_a_willing_terminal():
    assert render.use_colour(Terminal(), {})
    assert render.use_colour(Terminal(), {"NO_COLOR": ""})
    assert not render.use_colour(Terminal(), {"NO_COLOR": "1"})
    assert not render.use_colour(Terminal(), {"TERM": "dumb"})
    assert not render.use_colour(io.StringIO(), {})
    assert not render.use_colour(None, {})


def test_a_coloured_table_differs_only_by_its_sequences():
    columns, rows = [Column("NAME"), Column("STATUS"), Column("X")], [["web", "online", "1"], ["b", "failed", "22"]]
    plain, _ = render.table(columns, rows)
    coloured, _ = render.table(columns, rows, colour=True)
    assert "\x1b[32monline\x1b[0m" in coloured[1]
    assert [line.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") for line in coloured] == plain


def test_terminal_width_follows_columns():
    assert render.terminal_width(Terminal(), {"COLUMNS": "77"}) == 77
    assert render.terminal_width(Terminal(), {}) == 80  # a StringIO has no descriptor to ask
    assert render.terminal_width(io.StringIO(), {"COLUMNS": "77"}) is None


def test_facts_show_nesting_lists_and_absence():
    lines = render.facts({"a": 1, "b": {"c": None, "d": ["x"], "e": True}, "f": "one\ntwo", "g": {}})
    assert lines == ["a: 1", "b:", "  c: -", '  d: ["x"]', "  e: yes", "f:", "  | one", "  | two", "g: {}"]
