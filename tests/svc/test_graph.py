"""Who waits for whom."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import DependencyCycle
from svcmgr.svc.graph import Graph, Links


def graph(**links: str) -> Graph:
    """``web="db"`` requires, ``web="~db"`` comes after; several in one text."""
    table = {}
    for name, text in links.items():
        words = text.split()
        table[name] = Links(tuple(w for w in words if w[0] != "~"), tuple(w[1:] for w in words if w[0] == "~"))
    return Graph(table)


SHOP = {"web": "app ~log", "app": "db cache", "db": "disk", "cache": "", "disk": "", "log": "~disk"}


def test_requirements_come_first() -> None:
    order = graph(**SHOP).with_requirements(["web"])
    assert set(order) == {"web", "app", "db", "cache", "disk"}
    assert order[-1] == "web"
    assert order.index("disk") < order.index("db") < order.index("app")


def test_after_orders_what_is_there_and_brings_nothing_in() -> None:
    found = graph(**SHOP)
    assert "log" not in found.with_requirements(["web"])
    order = found.with_requirements(["web", "log"])
    assert order.index("disk") < order.index("log") < order.index("web")


def test_after_orders_over_what_is_in_between() -> None:
    assert graph(a="b", b="~c", c="").with_requirements(["a", "c"]) == ["c", "b", "a"]


def test_dependents_come_first() -> None:
    order = graph(**SHOP).with_dependents(["disk"])
    assert set(order) == {"disk", "db", "app", "web"}
    assert order.index("web") < order.index("app") < order.index("db") < order.index("disk")


def test_neighbours() -> None:
    found = graph(**SHOP)
    assert found.before("web") == ("app", "log")
    assert found.before("nobody") == ()
    assert sorted(found.followers("disk")) == ["db", "log"]
    assert found.followers("nobody") == []


def test_both_kinds_of_link_to_the_same_name_count_once() -> None:
    found = graph(a="b ~b", b="")
    assert found.before("a") == ("b",)
    assert found.followers("b") == ["a"]


def test_unknown_names_are_allowed() -> None:
    found = graph(a="ghost ~spirit")
    assert found.with_requirements(["a"]) == ["ghost", "a"]
    assert found.with_dependents(["ghost"]) == ["a", "ghost"]


@pytest.mark.parametrize(
    ("links", "cycle"),
    [
        ({"a": "a"}, {"a"}),
        ({"a": "b", "b": "a"}, {"a", "b"}),
        ({"a": "~b", "b": "~a"}, {"a", "b"}),
        ({"a": "b", "b": "~c", "c": "a", "d": "a"}, {"a", "b", "c"}),
        ({"x": "y", "y": "z", "z": "", "p": "q", "q": "r", "r": "q"}, {"q", "r"}),
    ],
)
def test_cycles_are_refused_with_their_path(links: dict[str, str], cycle: set[str]) -> None:
    with pytest.raises(DependencyCycle) as caught:
        graph(**links)
    path = caught.value.details["path"]
    assert path[0] == path[-1]
    assert set(path) == cycle
    assert len(path) == len(cycle) + 1
    assert " -> ".join(path) in caught.value.message
    table = {name: [w.lstrip("~") for w in text.split()] for name, text in links.items()}
    for here, there in itertools.pairwise(path):
        assert there in table[here]


def test_a_chain_of_two_thousand() -> None:
    count = 2000
    chain = {f"s{n}": Links((f"s{n + 1}",)) for n in range(count)}
    found = Graph(chain)
    names = [f"s{n}" for n in range(count + 1)]
    assert found.with_requirements(["s0"]) == names[::-1]
    assert found.with_dependents([f"s{count}"]) == names
    with pytest.raises(DependencyCycle) as caught:
        Graph(chain | {f"s{count}": Links(("s0",))})
    assert len(caught.value.details["path"]) == count + 2


def test_a_wide_graph_is_walked_once() -> None:
    """Layers that all require each other have exponentially many paths."""
    layers = [[f"n{layer}x{i}" for i in range(6)] for layer in range(40)]
    links = {name: Links(tuple(below)) for above, below in itertools.pairwise(layers) for name in above}
    found = Graph(links)
    assert len(found.with_requirements(layers[0])) == 240
    assert len(found.with_dependents(layers[-1])) == 240


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Links]:
    count = draw(st.integers(1, 12))
    links = {}
    for n in range(count):
        lower = [f"s{k}" for k in range(n)]
        requires = draw(st.lists(st.sampled_from(lower), unique=True, max_size=3)) if lower else []
        after = draw(st.lists(st.sampled_from(lower), unique=True, max_size=3)) if lower else []
        links[f"s{n}"] = Links(tuple(requires), tuple(after))
    return draw(st.permutations(list(links.items())).map(dict))


@settings(max_examples=100, deadline=None)
@given(links=graphs(), data=st.data())
def test_orders_of_any_graph(links: dict[str, Links], data: st.DataObject) -> None:
    found = Graph(links)
    names = data.draw(st.lists(st.sampled_from(sorted(links)), unique=True, min_size=1))
    start = found.with_requirements(names)
    assert len(start) == len(set(start))
    assert set(names) <= set(start)
    for name in start:
        assert set(links[name].requires) <= set(start)
        for other in found.before(name):
            assert other not in start or start.index(other) < start.index(name)
    stop = found.with_dependents(names)
    assert len(stop) == len(set(stop))
    for name in stop:
        for other in links[name].requires:
            assert other not in stop or stop.index(name) < stop.index(other)
        assert name in names or set(links[name].requires) & set(stop)
