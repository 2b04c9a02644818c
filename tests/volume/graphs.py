"""Graphs and volfiles for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from svcmgr.volume import Graph, Node
from svcmgr.volume.volwords import KEYWORDS

#: Words that a careless reader or writer gets wrong.
NASTY = [
    *("volume", "type", "option", "subvolumes", "subvolumeS", "end-volume", "volume\x0b"),
    *("#", "#a", "a#b", "a b", " a", "a ", "\t", '"', 'a"b', "\\", "a\\", "\\\\", '\\"', "`", "`id`", "\\`"),
    *("\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u2028", "\ufeff", "é", "\U0001f4be", "-", "--", "$x", "'a'", "%s"),
]
words = st.sampled_from(NASTY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=8
)
plain_words = st.from_regex(r"[a-z0-9./_-]{1,8}", fullmatch=True).filter(lambda word: word not in KEYWORDS)
types = st.sampled_from(["storage/posix", "features/snapshots", "mount/fuse", "testing/features/template"])


def options(texts: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    values = texts | st.just("") if texts is words else texts
    return st.dictionaries(texts, values, max_size=4).map(lambda found: tuple(found.items()))


@st.composite
def graphs(draw: st.DrawFn, texts: st.SearchStrategy[str] = words) -> Graph:
    """Any valid graph of up to eight nodes."""
    names = draw(st.lists(texts, min_size=1, max_size=8, unique=True))
    nodes: list[Node] = []
    for index, name in enumerate(names):
        below = draw(st.lists(st.sampled_from(names[:index]), max_size=3)) if index else []
        if index == len(names) - 1:
            used = {other for node in nodes for other in node.subvolumes} | set(below)
            below += [other for other in names[:index] if other not in used]
        nodes.append(Node(name, draw(types), draw(options(texts)), tuple(below)))
    return Graph(tuple(nodes))


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`") + '"'


@st.composite
def texts_of(draw: st.DrawFn, graph: Graph) -> str:
    """``graph`` as somebody may have written it: odd blanks, comments, needless quotes, options set twice."""
    out: list[str] = []
    blank = st.sampled_from([" ", "\t", "  ", " \t "])
    newline = st.sampled_from(["\n", "\n\n", "\r\n", " # a comment\n", '\n# option "x\n  ', "\n\t", " "])

    def say(keyword: str, *words: str) -> None:
        out.append(keyword + "".join(draw(blank) + _quoted(word) for word in words) + draw(newline))

    def some(pairs: tuple[tuple[str, str], ...]) -> None:
        for key, value in pairs:
            if draw(st.booleans()):
                say("option", key, "an earlier value")
            say("option", key, value)

    for node in graph.nodes:
        say("volume", node.name)
        say("type", node.type)
        cut = draw(st.integers(0, len(node.options)))
        some(node.options[:cut])
        if node.subvolumes:
            say(draw(st.sampled_from(["subvolumes", "subvolumeS"])), *node.subvolumes)
        some(node.options[cut:])
        say("end-volume")
    return draw(st.sampled_from(["", "\n", "# top\n", "\r\n "])) + "".join(out)


def chain(count: int) -> Graph:
    """A graph that is ``count`` nodes deep."""
    return Graph(tuple(Node(f"n{i}", "a/b", (), (f"n{i - 1}",) if i else ()) for i in range(count)))
