"""What is shown, as a value."""

from __future__ import annotations

from pathlib import Path

from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.view.shown import Shown


def exposed(name: str, id: str = "", bricks: int = 1, created: float = 1.0) -> Exposed:
    return Exposed(name, id or f"id-{name}", created, tuple(Path(f"/{name}/{n}") for n in range(bricks)))


def test_one_brick_is_the_snapshot_and_several_are_directories_of_it():
    shown = Shown.of((exposed("one"), exposed("two", bricks=2)))
    assert shown.shelves[b"one"].only.path == Path("/one/0")
    assert shown.shelves[b"two"].only is None
    assert list(shown.shelves[b"two"].roots) == [b"brick-1", b"brick-2"]
    assert len({root.seed for root in shown.roots.values()}) == len(shown.roots) == 3


def test_a_listing_goes_on_where_it_was_whatever_is_activated_meanwhile():
    first = Shown.of((exposed("b"), exposed("c"), exposed("d")))
    seen = first.listed(False, 0)[:2]
    assert [shelf.name for shelf in seen] == [b"b", b"c"]
    second = Shown.of((exposed("a"), exposed("c"), exposed("d")), first)
    assert [shelf.name for shelf in second.listed(False, seen[-1].serial)] == [b"d", b"a"]


def test_a_serial_is_never_given_twice():
    first = Shown.of((exposed("a"), exposed("b")))
    second = Shown.of((), first)
    third = Shown.of((exposed("a"),), second)
    assert third.shelves[b"a"].serial == 3


def test_names_with_a_dot_are_left_out_of_a_listing_alone():
    shown = Shown.of((exposed(".a"), exposed("b")))
    assert [shelf.name for shelf in shown.listed(True, 0)] == [b"b"]
    assert b".a" in shown.shelves


def test_what_is_gone_is_what_a_name_no_longer_means():
    first = Shown.of((exposed("a"), exposed("b"), exposed("c")))
    second = Shown.of((exposed("a"), exposed("b", id="another")), first)
    assert first.gone(second) == [b"b", b"c"]
    assert second.changed_ns == 1_000_000_000
    assert Shown.of(()).changed_ns == 0
