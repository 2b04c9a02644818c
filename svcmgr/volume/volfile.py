"""Volfiles: the text of a graph, read and written.

Theory of operation. The grammar is that of GlusterFS (glusterfs: libglusterfs/src/graph.y)::

    volume NAME
        type CATEGORY/MODULE
        option KEY VALUE
        subvolumes NAME...
    end-volume

The type comes first; options may stand before and after the one ``subvolumes``. An option given twice has its last
value. No text has one meaning here and another there. Refused here alone: a node that nobody uses and a subvolume
that is not defined before (see :mod:`svcmgr.volume.volgraph`), commands in backticks, a type that is not of the form
a/b, a backslash outside quotes and a quoted word that goes over the end of a line, of which GlusterFS drops the
characters. Read here alone: a block with a type and nothing else; an empty value, which GlusterFS drops with its
option; a keyword in the place of a name, a key or a value on the line of its statement; further plain words on the
line of a value, which belong to it. What is written is written so that GlusterFS reads it, apart from the first two,
for which it has no words.

Most blocks of most volfiles have one plain statement on each line. One pattern reads such a block in one step, and any
other block is read word by word; both read the same language where the pattern applies at all.
"""

from __future__ import annotations

import hashlib
import re

from svcmgr.errors import BadVolfile
from svcmgr.volume.volgraph import NODES_MAX, Fault, Graph, Node, fault
from svcmgr.volume.volwords import KEYWORDS, PLAIN, WORD_MAX, Words, backtick, refusal, written

#: Largest text, bytes of UTF-8; the volfile server and its clients have the same limit.
TEXT_MAX = 4 * 1024 * 1024
#: Longest line, characters.
LINE_MAX = 64 * 1024
#: Where the renderer begins another line of subvolumes, characters.
_WRAP = 1000

_SPACE = r"[ \t]++"
_END = r"[ \t]*+\n[ \t]*+"
_OPTIONS = rf"((?:option{_SPACE}{PLAIN}{_SPACE}{PLAIN}{_END})*+)"
_BLOCK = re.compile(
    rf"[ \t\n]*+volume{_SPACE}({PLAIN}){_END}type{_SPACE}({PLAIN}){_END}{_OPTIONS}"
    rf"(?:subvolumes((?:{_SPACE}{PLAIN})++){_END}{_OPTIONS})?+end-volume(?=[ \t\r\n]|\Z)"
)
_BELOW = ("subvolumes", "subvolumeS")


def parse(text: str) -> Graph:
    """The graph that ``text`` describes.

    Raises:
        BadVolfile: it is over a limit, not in the grammar, or no graph; ``details`` have line and column.
    """
    short = _check_limits(text)
    nodes: list[Node] = []
    starts: list[int] = []
    pos, end = 0, len(text.rstrip(" \t\r\n"))
    while pos < end:
        starts.append(pos)
        match = _BLOCK.match(text, pos)
        node = _plain(*match.groups()) if match is not None else None
        if match is not None and node is not None:
            pos = match.end()
        else:
            node, pos = _block(Words(text, pos))
        if node is not None:
            nodes.append(node)
        if len(nodes) > NODES_MAX:
            raise refusal(text, starts[-1], f"more than {NODES_MAX} volumes, the limit")
    try:
        return Graph(tuple(nodes), words_hold=short)
    except BadVolfile:
        found = fault(nodes)
        assert found is not None
        raise refusal(text, _offset(text, starts, found), found.text) from None


def _check_limits(text: str) -> bool:
    """Refuse what is over a limit or not for a volfile; whether no line is longer than the longest word."""
    size = len(text) if text.isascii() or len(text) > TEXT_MAX else _encoded(text)
    if size > TEXT_MAX:
        raise BadVolfile(f"cannot read volfile: it has {size} bytes, the limit is {TEXT_MAX}", size=size)
    if (pos := _long_line(text, LINE_MAX)) >= 0:
        raise refusal(text, pos, f"the line has more than {LINE_MAX} characters, the limit; divide it")
    if (offset := text.find("\0")) >= 0:
        raise refusal(text, offset, "a NUL character; a volfile is text")
    if (offset := backtick(text)) >= 0:
        raise refusal(text, offset, "a backtick: nothing is run here; write \\` inside double quotes for the character")
    return _long_line(text, WORD_MAX) < 0


def _long_line(text: str, limit: int) -> int:
    """Where a line of more than ``limit`` characters begins, or -1. Looks at one line end in ``limit`` characters."""
    pos = 0
    while len(text) - pos > limit:
        newline = text.rfind("\n", pos, pos + limit + 1)
        if newline < 0:
            return pos
        pos = newline + 1
    return -1


def _encoded(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise refusal(text, error.start, "not a character of Unicode; a volfile is UTF-8") from None


def _plain(name: str, kind: str, before: str, below: str | None, after: str | None) -> Node | None:
    """The node of a block in the parts of the pattern; None where the pattern took a keyword for a name."""
    words = (before + after if after else before).split()
    subvolumes = tuple(below.split()) if below else ()
    if not KEYWORDS.isdisjoint(subvolumes):
        return None
    # The pattern has two words after each "option"; to have zip look again takes a tenth of the whole reading.
    options = dict(zip(words[1::3], words[2::3]))  # noqa: B905
    return Node(name, kind, tuple(options.items()), subvolumes)


def _block(words: Words) -> tuple[Node | None, int]:
    """The next block, word by word; no node where only comments are left. Raises BadVolfile."""
    words.next()
    if words.at_end:
        return None, words.pos
    _keyword(words, "volume")
    name = _word(words, "the name of a volume")
    words.next()
    _keyword(words, "type")
    kind = _word(words, "a type such as storage/posix")
    options: dict[str, str] = {}
    subvolumes: list[str] = []
    words.next()
    while not (words.keyword and words.word == "end-volume"):
        if words.keyword and words.word == "option":
            key = _word(words, "the key of an option")
            options[key] = _value(words, key)
        elif words.keyword and words.word in _BELOW:
            if subvolumes:
                raise refusal(
                    words.text, words.start, f"a second 'subvolumes' in volume {name!r}; name them all in one"
                )
            subvolumes = _subvolumes(words)
        else:
            raise _unexpected(words, "'option', 'subvolumes' or 'end-volume'")
    return Node(name, kind, tuple(options.items()), tuple(subvolumes)), words.pos


def _keyword(words: Words, keyword: str) -> None:
    if not words.plain or words.word != keyword:
        raise _unexpected(words, repr(keyword))


def _unexpected(words: Words, wanted: str) -> BadVolfile:
    return refusal(words.text, words.start, f"expected {wanted}, found {words.found()}")


def _word(words: Words, what: str, *, empty: bool = False) -> str:
    word = words.next()
    if words.at_end or (words.keyword and not words.same_line) or not (word or empty):
        raise _unexpected(words, what)
    return word


def _value(words: Words, key: str) -> str:
    """The value of an option; goes to the word after it."""
    value = _word(words, f"a value for option {key!r}", empty=True)
    more = words.plain
    words.next()
    while more and words.same_line and words.plain and words.word and not words.keyword:
        value += " " + words.word
        if len(value) > WORD_MAX:
            raise words.too_long(len(value))
        words.next()
    return value


def _subvolumes(words: Words) -> list[str]:
    """The names after ``subvolumes``, on any number of lines; goes to the word after them."""
    found = []
    while words.next() and not words.keyword:
        found.append(words.word)
        if len(found) > NODES_MAX:
            raise refusal(words.text, words.start, f"more than {NODES_MAX} subvolumes, the limit")
    if not found:
        raise _unexpected(words, "the name of a subvolume")
    return found


def _offset(text: str, starts: list[int], found: Fault) -> int:
    """Where the word in question stands; the beginning of its block where it has none."""
    if found.index >= len(starts):
        return len(text)
    words = Words(text, starts[found.index])
    words.next()
    begin = words.start
    below = False
    while found.word and not words.at_end and not (words.keyword and words.word == "end-volume"):
        if words.word == found.word and below >= found.below:
            return words.start
        below = below or (words.keyword and words.word in _BELOW)
        words.next()
    return begin


def render(graph: Graph) -> str:
    """The text of ``graph``, which :func:`parse` reads as the same graph. Raises BadVolfile when it is too large."""
    text = "\n".join(map(_rendered, graph.nodes))
    if (size := len(text.encode())) > TEXT_MAX:
        raise BadVolfile(
            f"cannot write volfile of {graph.top.name!r}: {size} bytes, the limit is {TEXT_MAX}", size=size
        )
    return text


def _rendered(node: Node) -> str:
    lines = [f"volume {written(node.name)}", f"    type {node.type}"]
    lines += [f"    option {written(key)} {written(value)}" for key, value in node.options]
    line = "    subvolumes"
    for name in map(written, node.subvolumes):
        if len(line) + len(name) >= _WRAP and line.strip():
            lines.append(line)
            line = "       "
        line += f" {name}"
    if node.subvolumes:
        lines.append(line)
    return "\n".join((*lines, "end-volume", ""))


def checksum(text: str) -> str:
    """SHA-256 of the text in UTF-8, in hex: what daemons and svcmgrd compare before they compare graphs."""
    return hashlib.sha256(text.encode()).hexdigest()
