"""Nodes that try out the branches of a template.

Theory of operation. Whether a template gives good TOML is known only for given facts. What it can tell apart is finite:
each fact or tag it mentions is one of the texts it is compared with, another text, or absent. A *sample* is a node with
one of these for each; all of them together reach every branch that any node can reach, and none that no node can. The
value of a tag that is put into the text is not made up, because nobody can tell what would fit there: such a tag is
absent in samples, or one of the texts it is compared with. When there are too many, samples that differ from the first
in one fact, and then in two, are taken as far as the limit goes: they reach all branches that depend on so many facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from math import prod

from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.tags import Source, Term
from svcmgr.services.mgmtd.config.template import Template

SAMPLES_MAX = 200
#: A value that no template compares with, by its look; where one does, it is one more sample that proves nothing.
OTHER = "sample"
_ID = "4294967295"
_NODE_ID = re.compile(r"[1-9][0-9]{0,9}\Z")
_PLAIN: Mapping[str, tuple[str | None, ...]] = {"node.id": (_ID,), "node.hostname": (OTHER,)}

_Choice = tuple[str, str | None]


def samples(template: Template, node_type: str) -> list[Facts]:
    """At most SAMPLES_MAX nodes of that type. The first has the default of every tag, or another text."""
    choices = _choices(template)
    if prod(map(len, choices.values())) <= SAMPLES_MAX:
        picked: Iterator[dict[str, str | None]] = (
            dict(zip(choices, values, strict=True)) for values in product(*choices.values())
        )
    else:
        picked = _near(choices)
    return [_facts(values, node_type) for values in islice(picked, SAMPLES_MAX)]


def _choices(template: Template) -> Mapping[str, Sequence[str | None]]:
    """What each fact and tag of the template may be, the plain case first."""
    found: dict[str, dict[str | None, None]] = {}
    for term in template.put():
        if term.source is Source.TAG:
            found[_name(term)] = {None: None}
    for condition in template.conditions():
        term, text = condition.term, condition.text
        name = _name(term)
        if name not in found:
            found[name] = dict.fromkeys(_PLAIN.get(name, (None, OTHER)))
        if text is not None and (name != "node.id" or _NODE_ID.match(text)):
            found[name][text] = None
    found.pop("node.type", None)
    return {name: tuple(options) for name, options in found.items()}


def _name(term: Term) -> str:
    return f"tag {term.name}" if term.source is Source.TAG else term.name


def _near(choices: Mapping[str, Sequence[str | None]]) -> Iterator[dict[str, str | None]]:
    first = {name: options[0] for name, options in choices.items()}
    yield first
    for count in (1, 2):
        for names in combinations(choices, count):
            for values in product(*(choices[name][1:] for name in names)):
                yield first | dict(zip(names, values, strict=True))


def _facts(values: Mapping[str, str | None], node_type: str) -> Facts:
    there = {name: text for name, text in values.items() if text is not None}
    tags = {name.removeprefix("tag "): text for name, text in there.items() if name.startswith("tag ")}
    return Facts(int(values.get("node.id") or _ID), values.get("node.hostname") or OTHER, node_type, tags)
