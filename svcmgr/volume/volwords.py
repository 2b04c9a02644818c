"""The words of a volfile: how text becomes words, and how a word is written so that it is read as itself.

Theory of operation. The rules are those of GlusterFS (glusterfs: libglusterfs/src/graph.l). Blanks, tabs, carriage
returns and line feeds part words. A '#' where a word would begin starts a comment up to the end of the line; inside a
word it is an ordinary character. A word is plain, without blanks, quotes and backslashes, or it is in double quotes,
where a backslash makes the next character ordinary and the line must not end. A keyword is never quoted, so a quoted
word is never a keyword.

GlusterFS runs what stands between backticks as a shell command before it reads anything else (graph.y, preprocess),
inside quotes and comments too. Nothing here runs anything: a backtick without a backslash before it is refused.
"""

from __future__ import annotations

import re

from svcmgr.errors import BadVolfile

#: graph.l takes a capital S at the end of one of them.
KEYWORDS = frozenset({"volume", "type", "option", "subvolumes", "subvolumeS", "end-volume"})
#: Longest word, characters; in quotes, a key and a value of this length fit into the longest line.
WORD_MAX = 16_000
#: What no word can hold: a string of C ends at NUL, a quoted word at the end of its line, and "\r" is at the mercy of
#: every program that reads text files.
UNWRITABLE = "\0\r\n"

#: A plain word, for use inside other patterns. More characters part words here than must, so that ``str.split`` and
#: this pattern agree; what is in neither is left to the tokens below.
PLAIN = r'[^\s"\\`#][^\s"\\`]*+'

_PLAIN_WORD = re.compile(rf"{PLAIN}\Z")
_BACKTICK = re.compile(r"\\.|(`)", re.DOTALL)
_BARE_BACKTICK = re.compile(r"(?<!\\)`")
_TOKEN = re.compile(
    r"(?P<skip>(?:[ \t\r\n]++|\#[^\n]*+)*+)"
    r"(?:(?P<plain>[^ \t\r\n\"\\]++)|\"(?P<quoted>[^\"\\\n\r]*+(?:\\[^\n\r][^\"\\\n\r]*+)*+)\"|(?P<end>\Z)|)"
)


def written(word: str) -> str:
    """``word`` as it stands in a volfile: plain where it can be, else in quotes."""
    if word not in KEYWORDS and _PLAIN_WORD.match(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`") + '"'


def _meant(quoted: str) -> str:
    """What stands between quotes, without the backslashes that make the next character ordinary."""
    return "\\".join(part.replace("\\", "") for part in quoted.split("\\\\"))


def backtick(text: str) -> int:
    """The offset of the first backtick that GlusterFS would take for the start of a command, or -1."""
    if "`" not in text or not _BARE_BACKTICK.search(text.replace("\\\\", "")):
        return -1
    return next(match.start() for match in _BACKTICK.finditer(text) if match[1])


def refusal(text: str, offset: int, why: str) -> BadVolfile:
    """The error about what stands at ``offset``, with its line and column, both from 1."""
    line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
    return BadVolfile(f"cannot read volfile: line {line}, column {column}: {why}", line=line, column=column)


class Words:
    """The words of ``text`` from ``pos`` on, one at a time. After :meth:`next` its members describe that word.

    ``word``: what it means; "" at the end of the text. ``start``: its offset. ``plain``: not quoted. ``keyword``: it is
    one. ``same_line``: nothing but blanks are between it and the word before.
    """

    __slots__ = ("keyword", "plain", "pos", "same_line", "start", "text", "word")

    def __init__(self, text: str, pos: int) -> None:
        self.text = text
        self.pos = self.start = pos
        self.word = ""
        self.plain = self.keyword = self.same_line = False

    def next(self) -> str:
        """Go to the next word, and give it. Raises BadVolfile."""
        match = _TOKEN.match(self.text, self.pos)
        assert match is not None, "every part of the pattern may be empty"
        kind = match.lastgroup or "skip"
        skipped, self.start = self.pos, match.end("skip")
        if kind == "skip":
            raise refusal(self.text, self.start, self._broken())
        self.same_line = self.text.find("\n", skipped, self.start) < 0
        self.plain = kind != "quoted"
        word = match[kind]
        self.keyword = self.plain and word in KEYWORDS
        self.pos = match.end()
        if kind == "quoted" and "\\" in word:
            word = _meant(word)
        self.word = word
        if len(word) > WORD_MAX:
            raise self.too_long(len(word))
        return word

    def too_long(self, size: int) -> BadVolfile:
        """The error about a word or value of ``size`` characters that ends here."""
        return refusal(self.text, self.start, f"a word of {size} characters, the limit is {WORD_MAX}")

    @property
    def at_end(self) -> bool:
        """Whether there is no word any more."""
        return self.plain and not self.word

    def _broken(self) -> str:
        if self.text[self.start] == "\\":
            return "a backslash outside quotes; put the word in double quotes"
        return "a quoted word does not end on its line; close it with '\"'"

    def found(self) -> str:
        """What stands here, for a message."""
        if self.at_end:
            return "the end of the text"
        return repr(self.word if len(self.word) <= 40 else self.word[:40] + "...")
