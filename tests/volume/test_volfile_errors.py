"""What is no volfile is refused with the place where it ends to be one. The message is the feature here."""

from __future__ import annotations

import pytest

from svcmgr.errors import BadVolfile
from svcmgr.volume import Graph, Node, parse, render, volfile, volgraph
from svcmgr.volume.volfile import LINE_MAX, TEXT_MAX
from svcmgr.volume.volwords import WORD_MAX

BLOCK = "volume a\n    type x/y\nend-volume\n"


def refused(text: str) -> BadVolfile:
    with pytest.raises(BadVolfile) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("", 1, 1, "no volume"),
        (" \n\n", 3, 1, "no volume"),
        ("# nothing", 1, 10, "no volume"),
        ("volum a", 1, 1, "expected 'volume', found 'volum'"),
        ('"volume" a', 1, 1, "expected 'volume'"),
        ("end-volume", 1, 1, "expected 'volume', found 'end-volume'"),
        ("volume", 1, 7, "expected the name of a volume, found the end of the text"),
        ('volume ""', 1, 8, "expected the name of a volume"),
        ("volume\ntype x/y", 2, 1, "expected the name of a volume, found 'type'"),
        ("volume a\noption k v", 2, 1, "expected 'type', found 'option'"),
        ("volume a\n  type\nend-volume", 3, 1, "expected a type"),
        ("volume a\n  type posix\nend-volume", 2, 8, "not of the form"),
        ("volume a\n  type ../../x\nend-volume", 2, 8, "not of the form"),
        ("volume a type x/y z\nend-volume", 1, 19, "expected 'option', 'subvolumes' or 'end-volume', found 'z'"),
        ("volume a type x/y\n type x/y\nend-volume", 2, 2, "found 'type'"),
        ("volume a type x/y\nvolume b", 2, 1, "found 'volume'"),
        ("volume a type x/y\n option\nend-volume", 3, 1, "expected the key of an option"),
        ('volume a type x/y\n option "" v\nend-volume', 2, 9, "expected the key of an option"),
        (
            "volume a type x/y\n option k\n option l v\nend-volume",
            3,
            2,
            "expected a value for option 'k', found 'option'",
        ),
        ('volume a type x/y\n option k v "w"\nend-volume', 2, 13, "expected 'option'"),
        ("volume a type x/y\n option k some type\nend-volume", 2, 16, "found 'type'"),
        ("volume a type x/y\n subvolumes\nend-volume", 3, 1, "expected the name of a subvolume"),
        ("volume a type x/y", 1, 18, "found the end of the text"),
        ("volume a type x/y\n end_volume", 2, 2, "found 'end_volume'"),
        (BLOCK + "volume b\n type x/y\n subvolumes a\n subvolumes a\nend-volume", 7, 2, "a second 'subvolumes'"),
        (
            BLOCK + "volume b\n type x/y\n option c c\n subvolumes a c\nend-volume",
            7,
            15,
            "'c' of volume 'b' is not defined",
        ),
        (BLOCK + "volume b\n type x/y\n subvolumes a b\nend-volume", 6, 15, "itself"),
        ("volume b\n type x/y\n subvolumes a\nend-volume\n" + BLOCK, 3, 13, "not defined before"),
        (BLOCK + "\n# again\n" + BLOCK, 6, 1, "defined twice"),
        (BLOCK + "\n" + BLOCK.replace("a\n", "b\n"), 1, 1, "used by no other"),
        ('volume a type x/y\n option k "a\n"\nend-volume', 2, 11, "does not end on its line"),
        ('volume a type x/y\n option k "a\\', 2, 11, "does not end on its line"),
        ('volume a type x/y\n option k "a\rb"\nend-volume', 2, 11, "does not end on its line"),
        ("volume a type x/y\n option k a\\b\nend-volume", 2, 12, "backslash"),
        ("volume a type x/y\n option k `id`\nend-volume", 2, 11, "backtick"),
        ('volume a type x/y\n option k "`id`"\nend-volume', 2, 12, "backtick"),
        ('volume a type x/y\n option k "\\\\`id`"\nend-volume', 2, 14, "backtick"),
        ("# `reboot`\n" + BLOCK, 1, 3, "backtick"),
        ("volume a\0\n", 1, 9, "NUL"),
        ("# é \ud800", 1, 5, "Unicode"),
        ("volume é type x/y end-volume \x0b", 1, 30, "expected 'volume'"),
    ],
)
def test_refusals(text, line, column, said):
    error = refused(text)
    assert (error.details["line"], error.details["column"]) == (line, column)
    assert error.message.startswith(f"cannot read volfile: line {line}, column {column}: ")
    assert said in error.message


def test_text_is_limited_in_bytes():
    block = BLOCK.encode()
    fits = BLOCK + ("#" + "é" * 100 + "\n") * ((TEXT_MAX - len(block)) // 202)
    fits += "\n" * (TEXT_MAX - len(fits.encode()))
    assert parse(fits).top.name == "a"
    assert refused(fits + "\n").details == {"size": TEXT_MAX + 1}
    assert refused("x" * (TEXT_MAX + 1)).details == {"size": TEXT_MAX + 1}


def test_lines_are_limited():
    fits = BLOCK + "#" + "x" * (LINE_MAX - 1)
    assert (
        parse(fits + "\n" + BLOCK.replace("volume a\n", "#\nvolume b\n").replace("end", "subvolumes a\nend")).top.name
        == "b"
    )
    assert refused(fits + "x").details == {"line": 4, "column": 1}
    assert refused(fits + "x\n").details == {"line": 4, "column": 1}


def test_words_are_limited():
    for separator in " \n":  # read word by word, and by the pattern
        error = refused(f"volume a{separator}type x/y\n option k {'v' * (WORD_MAX + 1)}\nend-volume")
        assert error.details == {"line": 2 + (separator == "\n"), "column": 11}
        assert str(WORD_MAX) in error.message
        assert len(error.message) < 500


def test_a_value_of_many_words_is_limited():
    words = "v " * (WORD_MAX // 2)
    assert len(parse(f"volume a type x/y\n option k {words}\nend-volume").top.options[0][1]) == WORD_MAX - 1
    assert refused(f"volume a type x/y\n option k {words} v\nend-volume").details == {
        "line": 2,
        "column": 12 + WORD_MAX,
    }


def test_nodes_and_subvolumes_are_limited(monkeypatch):
    monkeypatch.setattr(volfile, "NODES_MAX", 2)
    assert refused(BLOCK + "volume b type x/y subvolumes a a a end-volume").details == {"line": 4, "column": 34}
    monkeypatch.setattr(volgraph, "NODES_MAX", 2)
    error = refused("".join(BLOCK.replace("volume a\n", f"volume {name}\n") for name in "abcd"))
    assert error.details == {"line": 6, "column": 11}
    with pytest.raises(BadVolfile):
        Graph((Node("a", "x/y"), Node("b", "x/y", (), ("a",) * 3)))
    with pytest.raises(BadVolfile):
        Graph((Node("a", "x/y"), Node("b", "x/y", (), ("a",)), Node("c", "x/y", (), ("b",))))


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (Node("", "x/y"),),
        (Node("a", ""),),
        (Node("a", "xy"),),
        (Node("a", "x/y\n"),),
        (Node("a", "x/../y"),),
        (Node("a", "x/" + "y" * WORD_MAX),),
        (Node("a\n", "x/y"),),
        (Node("a", "x/y", (("k\r", "v"),)),),
        (Node("a", "x/y", (("", "v"),)),),
        (Node("a", "x/y", (("k", "v\0"),)),),
        (Node("a", "x/y", (("k", "\udc80"),)),),
        (Node("a", "x/y", (("k", "v" * (WORD_MAX + 1)),)),),
        (Node("a", "x/y", (("k", "1"), ("k", "2"))),),
        (Node("a", "x/y", (), ("a",)),),
        (Node("a", "x/y", (), ("b",)), Node("b", "x/y")),
        (Node("a", "x/y"), Node("b", "x/y")),
        (Node("a", "x/y"), Node("a", "x/y", (), ("a",))),
        (Node("a", "x/y"), Node("b", "x/y"), Node("c", "x/y", (), ("a",))),
    ],
    ids=repr,
)
def test_nodes_that_are_no_graph(nodes):
    with pytest.raises(BadVolfile):
        Graph(nodes)


def test_a_graph_too_large_to_be_read_is_not_written():
    count = TEXT_MAX // WORD_MAX
    with pytest.raises(BadVolfile) as caught:
        render(Graph((Node("a", "x/y", tuple((f"k{n}", "v" * WORD_MAX) for n in range(count))),)))
    assert caught.value.details["size"] > TEXT_MAX
