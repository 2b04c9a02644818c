"""Inode numbers of the view, and what it remembers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from svcmgr.services.snapd.view.inodes import TOP, Inodes, Key, Node, digest63, key_of, mix

NUMBERS = st.integers(0, (1 << 63) - 1)


def node(number: int, key: Key, path: bytes = b"f", is_directory: bool = False) -> Node:
    return Node(number, key, path, TOP, is_directory)


@given(NUMBERS, st.lists(NUMBERS, unique=True, max_size=50))
def test_within_a_root_no_two_files_share_a_number(seed, inodes):
    numbers = {mix(seed, inode) for inode in inodes}
    assert len(numbers) == len(inodes)
    assert all(0 <= number < 1 << 63 for number in numbers)


@given(NUMBERS, NUMBERS)
def test_a_number_is_always_the_same_and_never_the_top(seed, inode):
    table = Inodes()
    key = Key("r", 1, inode)
    number = table.number(seed, key)
    assert number == table.number(seed, key) == Inodes().number(seed, key)
    assert number > TOP
    table.remember(node(number, key))
    assert table.number(seed, key) == number


def test_numbers_do_not_change_between_versions():
    assert mix(digest63(b"root", b"id/1"), 1234) == 7696865734258237400


def test_a_number_that_is_taken_goes_to_nobody_else():
    table = Inodes()
    first, second = Key("a", 1, 7), Key("b", 1, 7)
    number = table.number(5, first)
    table.remember(node(number, first))
    other = table.number(5, second)
    assert other == number + 1
    table.remember(node(other, second))
    assert table.number(5, second) == other


def test_the_last_lookup_forgets():
    table = Inodes()
    key = Key("r", 1, 7)
    number = table.number(5, key)
    table.remember(node(number, key))
    table.remember(node(number, key, b"other name of it"))
    assert table.get(number).path == b"f"
    assert table.forget([(number, 1), (12345, 9)]) == []
    assert table.forget([(number, 1)]) == [number]
    assert table.get(number) is None
    assert len(table) == 0


def test_what_shares_its_inode_number_is_told_apart_by_path():
    directory = (9, 2, True)
    assert key_of("r", 9, directory, b"a") != key_of("r", 9, directory, b"b")
    assert key_of("r", 9, (8, 77, False), b"a") != key_of("r", 9, (8, 77, False), b"b")
    assert key_of("r", 9, (9, 77, False), b"a") == key_of("r", 9, (9, 77, False), b"b")
    table = Inodes()
    numbers = {table.number(5, key_of("r", 9, directory, path)) for path in (b"a", b"b", b"")}
    assert len(numbers) == 3


def test_files_are_let_go_of_before_directories_and_never_the_tops():
    table = Inodes()
    rows = [(b"", True), (b"d", True), (b"f", False), (b"d/g", False)]
    for number, (path, is_directory) in enumerate(rows, 2):
        table.remember(node(number, Key("r", 1, number), path, is_directory))
    assert [one.path for one in table.victims()] == [b"f", b"d/g"]
    table.forget([(4, 1), (5, 1)])
    assert [one.path for one in table.victims()] == [b"d"]
    table.forget([(3, 1)])
    assert table.victims() == []
