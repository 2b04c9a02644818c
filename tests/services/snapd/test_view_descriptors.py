"""Descriptors that are lent and kept, and never too many."""

from __future__ import annotations

import os

import pytest

from svcmgr.services.snapd.view.descriptors import Descriptors


def make() -> int:
    return os.open("/dev/null", os.O_RDONLY)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def store():
    made = Descriptors(2)
    yield made
    made.close()


def test_the_same_is_lent_again(store):
    with store.lend("a", make) as first:
        pass
    with store.lend("a", make) as second:
        assert first == second


def test_the_one_that_was_wanted_least_lately_is_closed(store):
    for key in ("a", "b", "a", "c"):
        with store.lend(key, make):
            pass
    assert len(store) == 2
    asked = []
    for key in ("a", "c", "b"):
        with store.lend(key, lambda key=key: asked.append(key) or make()):
            pass
    assert asked == ["b"]


def test_what_is_lent_stays_open_until_it_comes_back(store):
    with store.lend("a", make) as fd:
        store.drop(lambda key: True)
        assert is_open(fd)
        assert len(store) == 0
    assert not is_open(fd)


def test_nothing_is_kept_after_the_close(store):
    store.close()
    with store.lend("a", make) as fd:
        assert is_open(fd)
    assert not is_open(fd)
    assert len(store) == 0


def test_what_cannot_be_made_leaves_nothing(store):
    def fail() -> int:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError), store.lend("a", fail):
        pass
    assert len(store) == 0


def test_two_who_made_the_same_keep_one(store):
    with store.lend("a", make) as first:
        store._keep("a", make())
        assert is_open(first)
    assert not is_open(first)
    assert len(store) == 1
