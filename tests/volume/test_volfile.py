"""Volfiles: what is written is read as the same graph, whoever wrote it and however."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadVolfile
from svcmgr.volume import Graph, Node, checksum, parse, render, volfile
from svcmgr.volume.volwords import KEYWORDS, WORD_MAX
from tests.volume.graphs import chain, graphs, plain_words, texts_of

BRICK = """volume v0-posix
    type storage/posix
    option directory /srv/a
end-volume

volume v0-server
    type protocol/server
    option transport-type tcp
    option auth.allow *
    subvolumes v0-posix
end-volume
"""


def read_without_the_pattern(text: str) -> Graph:
    """What the word by word reader alone says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volfile, "_BLOCK", re.compile(r"(?!)"))
        return parse(text)


def outcome(read, text):
    """The graph, or where and why it is none."""
    try:
        return read(text)
    except BadVolfile as error:
        return error.message, error.details


def test_a_volfile():
    graph = parse(BRICK)
    posix = Node("v0-posix", "storage/posix", (("directory", "/srv/a"),))
    server = Node("v0-server", "protocol/server", (("transport-type", "tcp"), ("auth.allow", "*")), ("v0-posix",))
    assert graph == Graph((posix, server))
    assert graph.top == server
    assert (graph.node("v0-posix"), graph.node("v1")) == (posix, None)
    assert render(graph) == BRICK


@given(graphs())
def test_every_graph_is_read_as_it_was_written(graph):
    text = render(graph)
    assert parse(text) == graph
    assert render(parse(text)) == text


@given(st.data())
def test_every_way_to_write_a_graph_is_read(data):
    graph = data.draw(graphs())
    text = data.draw(texts_of(graph))
    assert parse(text) == graph
    assert render(parse(text)) == render(graph)


@given(graphs(plain_words))
def test_the_pattern_reads_what_it_is_for(graph):
    text = render(graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volfile, "_block", lambda words: pytest.fail(f"read word by word at {words.pos}"))
        assert parse(text) == graph


PIECES = st.sampled_from(sorted(KEYWORDS)) | st.sampled_from(
    ["a", "b", "a/b", '"', "#", "\\", "`", "\n", "\r", " ", "\t", "\x0b", "\xa0"]
)


@given(st.data())
def test_both_readers_say_the_same_of_broken_text(data):
    text = render(data.draw(graphs(plain_words | st.sampled_from(["a b", "type"]))))
    for _ in range(data.draw(st.integers(1, 3))):
        at, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 6))
        text = text[:at] + data.draw(PIECES) + text[at + cut :]
    assert outcome(parse, text) == outcome(read_without_the_pattern, text)


@given(st.lists(PIECES, max_size=40).map(" ".join) | st.text())
def test_no_text_does_worse_than_be_refused(text):
    read = outcome(parse, text)
    assert read == outcome(read_without_the_pattern, text)
    if isinstance(read, Graph):
        assert parse(render(read)) == read


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("option k v", "v"),
        ("option k a#b", "a#b"),
        ("option k v # comment", "v"),
        ("option k v#comment", "v#comment"),
        ('option k "a b"', "a b"),
        ('option k "a # b"', "a # b"),
        ('option k "a \\" b"', 'a " b'),
        ('option k "a \\\\ \\n b"', "a \\ n b"),
        ('option k "\\`id\\`"', "`id`"),
        ('option k ""', ""),
        ("option k\n\n  v", "v"),
        ("option k # why\n v", "v"),
        ("option k a  b\tc", "a b c"),
        ("option k a b # c", "a b"),
        ("option k type", "type"),
        ('option k "type"', "type"),
        ("option k é", "é"),
        ("option k a\x0bb", "a\x0bb"),
        ("option k a\xa0b", "a\xa0b"),
        ("option k v option k w", "w"),
        ("option k v\r\noption k w\r\n", "w"),
        ('option "k"v', "v"),
        ("option k ='a'", "='a'"),
    ],
)
def test_values(line, value):
    assert parse(f"volume a\ntype x/y\n{line}\nend-volume").top.options == (("k", value),)


@pytest.mark.parametrize(
    "text",
    [
        "volume a type x/y end-volume",
        "volume a\r\ntype x/y\r\nend-volume\r\n",
        'volume "a" type "x/y" end-volume',
        "\n\n# a\n\tvolume a # b\n type x/y #c\nend-volume # d",
        "volume a type x/y end-volume #",
        "#\r\n# volume b\nvolume\na\ntype\nx/y end-volume",
    ],
)
def test_blanks_and_comments(text):
    assert parse(text) == Graph((Node("a", "x/y"),))


def test_subvolumes_on_many_lines_and_the_same_one_twice():
    two = "volume a type x/y end-volume volume b type x/y end-volume "
    text = two + "volume c type x/y subvolumes a\n b # c\n\n a\nend-volume"
    assert parse(text).top.subvolumes == ("a", "b", "a")


@pytest.mark.parametrize("word", ["volume", "end-volume", "", "#", "a b", "\\", "`", "\x85"])
def test_what_is_written_in_quotes(word):
    text = render(Graph((Node("a", "x/y", (("k", word),)),)))
    assert text.splitlines()[2].startswith('    option k "') or "\x85" in word
    assert parse(text).top.options == (("k", word),)


def test_an_option_keeps_its_place_and_has_its_last_value():
    text = "volume a\ntype x/y\noption k 1\noption l 2\noption k 3\nend-volume\n"
    assert parse(text).top.options == (("k", "3"), ("l", "2")) == read_without_the_pattern(text).top.options


def test_many_subvolumes_are_written_on_many_lines():
    leaves = [Node(f"leaf-{n}", "x/y") for n in range(5000)]
    graph = Graph((*leaves, Node("top", "x/y", (), tuple(leaf.name for leaf in leaves))))
    text = render(graph)
    assert max(map(len, text.splitlines())) <= 1000
    assert parse(text) == graph


def test_the_longest_words_fit_into_the_longest_line():
    word = '"' * WORD_MAX
    graph = Graph((Node(word, "x/y", ((word, word[:-1] + "\\"),)), Node("top", "x/y", (), (word,))))
    assert parse(render(graph)) == graph


def test_depth_is_no_limit():
    graph = chain(20_000)
    assert parse(render(graph)) == graph


def test_the_checksum_is_of_the_text_in_utf8():
    # printf é | sha256sum
    assert checksum("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"
