"""The tags of a template: how they are cut out of a text, and what each means.

Theory of operation. A tag is found by its two braces and read by itself, without what stands around it; how ifs and
ends go together is the template's. Texts in a tag are in double quotes, where ``\\"`` and ``\\\\`` stand for a quote
and a backslash. Everything that is no tag is text; ``}}`` alone is text too, because inline tables end in it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

import attrs

from svcmgr.services.mgmtd.config.document import Fault, refusal
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.facts import Facts

FORMS = '{{ node.id }}, {{ tag "x" "default" }}, {{ "text" }}, {{ if tag "x" == "y" }}, {{ else }}, {{ end }}'
FACTS = ("node.id", "node.hostname", "node.type")

_TAG = re.compile(r'\{\{((?:[^"\n}]|"(?:[^"\\\n]|\\.)*"|\}(?!\}))*)\}\}')
_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\["\\])*")|(?P<sign>==|!=)|(?P<word>[a-z][a-z.]*))')


class Verb(enum.Enum):
    """What a tag does."""

    PUT = "put"
    IF = "if"
    ELSE_IF = "else if"
    ELSE = "else"
    END = "end"


class Source(enum.Enum):
    """Where the text of a term comes from."""

    TEXT = "text"
    FACT = "node"
    TAG = "tag"


@attrs.frozen
class Term:
    """Something that has a text: TEXT itself, the fact or the tag of that name. ``default``: when the tag is absent."""

    source: Source
    name: str
    default: str | None = None

    def of(self, facts: Facts) -> str | None:
        """The text for a node; None for a tag that it does not have and that has no default."""
        if self.source is Source.TAG:
            return facts.tags.get(self.name, self.default)
        if self.source is Source.FACT:
            return str(getattr(facts, self.name.removeprefix("node.")))
        return self.name


@attrs.frozen
class Condition:
    """``term`` is (or, ``negated``, is not) ``text``; with None for ``text``: the tag is there."""

    term: Term
    text: str | None = None
    negated: bool = False

    def holds(self, facts: Facts) -> bool:
        found = self.term.of(facts)
        return (found is not None if self.text is None else found == self.text) != self.negated


@attrs.frozen
class Tag:
    """One tag: what it does, with the term or the condition that goes with it, and where it stands."""

    verb: Verb
    line: int
    column: int
    term: Term | None = None
    condition: Condition | None = None

    def fault(self, reason: str) -> InvalidConfig:
        """A refusal at this place."""
        return _refuse(reason, self.line, self.column)


def lex(text: str) -> Iterator[str | Tag]:
    """Texts and tags in turn. Raises InvalidConfig, with line and column, for a tag that is none."""
    at, line = 0, 1
    while (start := text.find("{{", at)) >= 0:
        if start > at:
            yield text[at:start]
        line += text.count("\n", at, start)
        column = start - text.rfind("\n", 0, start)
        found = _TAG.match(text, start)
        if not found:
            raise _refuse("the tag has no }} on its line", line, column)
        yield _Reader(found[1], line, column).tag()
        at = found.end()
    yield text[at:]


@attrs.define
class _Reader:
    """Reads the inside of one tag, token by token."""

    text: str
    line: int
    column: int
    at: int = 0

    def tag(self) -> Tag:
        verb, term, condition = Verb.PUT, None, None
        if self.word("if"):
            verb, condition = Verb.IF, self.condition()
        elif self.word("else"):
            verb = Verb.ELSE_IF if self.word("if") else Verb.ELSE
            condition = self.condition() if verb is Verb.ELSE_IF else None
        elif self.word("end"):
            verb = Verb.END
        else:
            term = self.term()
        if self.text[self.at :].strip():
            raise self.fault(f"{self.text[self.at :].strip()[:40]!r} is too much")
        return Tag(verb, self.line, self.column, term, condition)

    def condition(self) -> Condition:
        term = self.term()
        if term.source is Source.TEXT:
            raise self.fault("a condition begins with a fact or a tag")
        sign = self.take("sign")
        if sign:
            return Condition(term, self.string("a text in quotes to compare with"), sign == "!=")
        if term.source is Source.TAG and term.default is None:
            return Condition(term)
        raise self.fault('a condition compares with == "text" or != "text"')

    def term(self) -> Term:
        text = self.take("text")
        if text:
            return Term(Source.TEXT, _unquoted(text))
        word = self.take("word")
        if word in FACTS:
            return Term(Source.FACT, word)
        if word != "tag":
            raise self.fault(
                f"there is no {word!r}; the facts are {', '.join(FACTS)}" if word else "it is empty or odd"
            )
        name = self.string("the tag's name in quotes")
        default = self.take("text")
        return Term(Source.TAG, name, _unquoted(default) if default else None)

    def string(self, what: str) -> str:
        text = self.take("text")
        if not text:
            raise self.fault(f"{what} is missing")
        return _unquoted(text)

    def word(self, wanted: str) -> bool:
        found = _TOKEN.match(self.text, self.at)
        if not found or found["word"] != wanted:
            return False
        self.at = found.end()
        return True

    def take(self, group: str) -> str:
        """The next token if it is of that group, or ""."""
        found = _TOKEN.match(self.text, self.at)
        if not found or found.lastgroup != group:
            return ""
        self.at = found.end()
        return found[group]

    def fault(self, reason: str) -> InvalidConfig:
        return _refuse(
            f"the tag {{{{{self.text[:60]}}}}} cannot be read: {reason}; write {FORMS}", self.line, self.column
        )


def _refuse(reason: str, line: int, column: int) -> InvalidConfig:
    return refusal("the template", [Fault(reason, "", line, column)])


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])
