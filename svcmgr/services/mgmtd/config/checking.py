"""Whether a text may become a version: it is refused here, before any node sees it.

Theory of operation. A text without tags is read once. One with tags is rendered for every node there is, and for
samples that reach its branches, so that a node that is tagged later meets no surprise; equal renderings are read once.
A sample that lacks a tag which the template demands proves nothing and is passed over. A node that lacks it is a fault.
At least one rendering must have been read: nothing is accepted unseen.
"""

from __future__ import annotations

from collections.abc import Iterable

from svcmgr.services.mgmtd.config.document import Fault, refusal
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.samples import samples
from svcmgr.services.mgmtd.config.schema import Schema
from svcmgr.services.mgmtd.config.template import Template, cut


def check_content(content: str, schema: Schema, nodes: Iterable[Facts] = ()) -> None:
    """Pass if every one of ``nodes`` of the schema's type, and any node that can be foreseen, could use ``content``.

    Raises:
        InvalidConfig: with line, column, key, and as ``node`` the id of the node that cannot use it, if there is one.
    """
    template = cut(content)
    if template.plain:
        schema.read(content)
        return
    seen: set[str] = set()
    for facts in nodes:
        if facts.type == schema.node_type:
            _try(template, schema, facts, seen)
    for facts in samples(template, schema.node_type):
        _try_sample(template, schema, facts, seen)
    if not seen:
        reason = "no node has the tags that its template demands; tag one, or give defaults"
        raise refusal(f"the configuration of {schema.node_type}", [Fault(reason)])


def _try(template: Template, schema: Schema, facts: Facts, seen: set[str]) -> None:
    try:
        _read(template, schema, facts, seen)
    except InvalidConfig as error:
        error.details["node"] = facts.id
        raise


def _try_sample(template: Template, schema: Schema, facts: Facts, seen: set[str]) -> None:
    try:
        _read(template, schema, facts, seen)
    except InvalidConfig as error:
        if "missing_tag" in error.details:
            return
        tags = ", ".join(f"{name}={text}" for name, text in sorted(facts.tags.items()))
        raise InvalidConfig(f"{error.message}, on a node with {tags or 'no tags'}", **error.details) from error


def _read(template: Template, schema: Schema, facts: Facts, seen: set[str]) -> None:
    text = template.render(facts)
    if text not in seen:
        schema.read(text)
        seen.add(text)
