"""What differs between two graphs: against the recursive rule of GlusterFS, and as it is told."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.volume import Comparison, Graph, Node, OptionChange, Verdict, compare, parse, render
from tests.volume.graphs import chain, graphs, plain_words, texts_of

SMALL = graphs(st.sampled_from(["a", "b", "c", "d"]))


def same_shape(one: Graph, other: Graph, first: str, second: str) -> bool:
    """The rule as GlusterFS has it: children, then name, then type."""
    old, new = one.node(first), other.node(second)
    assert old is not None
    assert new is not None
    return (
        len(old.subvolumes) == len(new.subvolumes)
        and all(same_shape(one, other, a, b) for a, b in zip(old.subvolumes, new.subvolumes, strict=True))
        and old.name == new.name
        and old.type == new.type
    )


def expected(old: Graph, new: Graph) -> Verdict:
    if not same_shape(old, new, old.top.name, new.top.name):
        return Verdict.SHAPE
    same = all(dict(old.node(node.name).options) == dict(node.options) for node in new.nodes)
    return Verdict.IDENTICAL if same else Verdict.OPTIONS


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Graph, Graph]:
    """Two graphs that often differ in little."""
    old = draw(SMALL)
    new = draw(SMALL)
    nodes = list(old.nodes)
    at = draw(st.integers(0, len(nodes) - 1))
    change = draw(st.sampled_from(["all", "none", "type", "option", "reverse", "twice"]))
    if change == "all":
        return old, new
    if change == "type":
        nodes[at] = attrs.evolve(nodes[at], type="changed/type")
    elif change == "option":
        nodes[at] = attrs.evolve(nodes[at], options=new.top.options)
    elif change == "reverse":
        nodes[at] = attrs.evolve(nodes[at], subvolumes=nodes[at].subvolumes[::-1])
    elif change == "twice":
        nodes[at] = attrs.evolve(nodes[at], subvolumes=nodes[at].subvolumes * 2)
    return old, Graph(tuple(nodes))


@given(pairs())
def test_the_verdict_is_that_of_the_recursive_rule(pair):
    found = compare(*pair)
    assert found.verdict is expected(*pair)
    assert bool(found.changes) is (found.verdict is Verdict.OPTIONS)
    assert bool(found.first) is (found.verdict is Verdict.SHAPE)


@given(pairs())
def test_the_changes_make_the_new_options_of_the_old_ones(pair):
    old, new = pair
    found = compare(old, new)
    if found.verdict is Verdict.SHAPE:
        return
    options = {node.name: dict(node.options) for node in old.nodes}
    for change in found.changes:
        assert options[change.node].get(change.option) == change.old != change.new
        if change.new is None:
            del options[change.node][change.option]
        else:
            options[change.node][change.option] = change.new
    assert options == {node.name: dict(node.options) for node in new.nodes}


@given(st.data())
def test_graphs_are_compared_and_not_texts(data):
    graph = data.draw(graphs(plain_words))
    shuffled = Graph(tuple(attrs.evolve(n, options=tuple(data.draw(st.permutations(n.options)))) for n in graph.nodes))
    assert compare(graph, parse(data.draw(texts_of(shuffled)))) == Comparison(Verdict.IDENTICAL)


def test_the_order_of_blocks_makes_no_difference():
    a, b = Node("a", "x/y"), Node("b", "x/y")
    top = Node("top", "x/y", (), ("a", "b"))
    assert compare(Graph((a, b, top)), Graph((b, a, top))).verdict is Verdict.IDENTICAL


A, B, C = Node("a", "storage/posix"), Node("b", "storage/posix"), Node("c", "storage/posix")
TOP = Node("v", "features/snapshots", (), ("a", "b"))
VIEW = Node("view", "mount/fuse", (), ("v",))
BASE = Graph((A, B, TOP))


def below(*names: str) -> Node:
    return attrs.evolve(TOP, subvolumes=names)


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        (BASE, Graph((A, B, TOP, VIEW)), "view (mount/fuse) is new at the top"),
        (Graph((A, B, TOP, VIEW)), BASE, "view (mount/fuse) is gone from the top"),
        (Graph((A,)), Graph((B,)), "the top is b (storage/posix), it was a (storage/posix)"),
        (BASE, Graph((A, B, C, below("a", "b", "c"))), "c (storage/posix) is new"),
        (Graph((A, B, C, below("a", "b", "c"))), BASE, "c (storage/posix) is gone"),
        (BASE, Graph((A, C, below("a", "c"))), "c (storage/posix) is new"),
        (
            BASE,
            Graph((A, attrs.evolve(B, type="storage/bd"), TOP)),
            "b changed its type from storage/posix to storage/bd",
        ),
        (BASE, Graph((A, B, below("b", "a"))), "v (features/snapshots) has b as subvolume 1, it had a"),
        (BASE, Graph((A, B, below("a", "b", "a"))), "v (features/snapshots) has one more subvolume, a"),
        (Graph((A, B, below("a", "b", "a"))), BASE, "v (features/snapshots) no longer has subvolume a"),
        (
            Graph((A, attrs.evolve(B, subvolumes=("a",)), attrs.evolve(TOP, subvolumes=("b",)))),
            Graph((B, attrs.evolve(A, subvolumes=("b",)), attrs.evolve(TOP, subvolumes=("a",)))),
            "b (storage/posix) no longer has subvolume a",
        ),
    ],
)
def test_the_first_difference_is_a_sentence(old, new, first):
    assert compare(old, new) == Comparison(Verdict.SHAPE, first=first)


def test_options_are_told_by_node():
    old = Graph((attrs.evolve(A, options=(("k", "1"), ("gone", "x"))), B, TOP))
    new = Graph((attrs.evolve(A, options=(("new", ""), ("k", "2"))), B, attrs.evolve(TOP, options=(("k", "1"),))))
    assert compare(old, new) == Comparison(
        Verdict.OPTIONS,
        (
            OptionChange("a", "new", None, ""),
            OptionChange("a", "k", "1", "2"),
            OptionChange("a", "gone", "x", None),
            OptionChange("v", "k", None, "1"),
        ),
    )


def test_depth_is_no_limit_and_sharing_costs_nothing():
    deep = chain(20_000)
    assert compare(deep, parse(render(deep))).verdict is Verdict.IDENTICAL
    # each node twice below the next: 2**200 ways from the top to the bottom
    shared = Graph(tuple(Node(f"n{i}", "a/b", (), (f"n{i - 1}",) * 2 if i else ()) for i in range(200)))
    assert compare(shared, parse(render(shared))).verdict is Verdict.IDENTICAL
