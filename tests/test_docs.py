"""The documents hold together: links lead somewhere, decisions are numbered once, examples are Python."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from tests.kit.tracked import ROOT, text_files

DOCS = ROOT / "docs"
DOCUMENTS = [path for path in text_files() if path.suffix == ".md"]
DECISIONS = sorted((DOCS / "adr").glob("*.md"))

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]*`")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    """``text`` without code, where brackets mean something else."""
    return _INLINE_CODE.sub("", _BLOCK.sub("", text))


def anchor(title: str) -> str:
    """The fragment of a heading, as GitHub makes it: lower case, blanks to hyphens, punctuation dropped."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {anchor(title) for title in re.findall(r"^#+ +(.*)$", _BLOCK.sub("", text), re.MULTILINE)}


def broken_links(path: Path) -> list[str]:
    """The relative links of a document that lead to no file, or to no heading of one."""
    found = []
    for link in _LINK.findall(prose(path.read_text(encoding="utf-8"))):
        target, _, fragment = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (fragment and fragment not in anchors(file.read_text(encoding="utf-8"))):
            found.append(link)
    return found


def unreadable_blocks(text: str) -> list[str]:
    """The first lines of Python blocks that do not parse."""
    found = []
    for language, code in _BLOCK.findall(text):
        try:
            if language in ("python", "py"):
                ast.parse(textwrap.dedent(code))
        except SyntaxError as error:
            found.append(f"{code.splitlines()[0]}: {error}")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path):
    assert broken_links(path) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_python_examples_are_python(path):
    assert unreadable_blocks(path.read_text(encoding="utf-8")) == []


def test_decisions_are_numbered_once_and_without_gaps():
    numbers = [int(path.name.partition("-")[0]) for path in DECISIONS]
    assert len(numbers) >= 14
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", DECISIONS, ids=named)
def test_a_decision_has_its_parts_and_is_short(path):
    text = path.read_text(encoding="utf-8")
    number = path.name.partition("-")[0]
    assert re.match(rf"# {number}\. \S.*\n\nStatus: (proposed|accepted|replaced by \[\d{{4}}\])", text)
    assert re.findall(r"^\*\*(\w+)\.\*\* \S", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 40


def test_every_document_can_be_found():
    """From the architecture or the way in, by links."""
    seen: set[Path] = set()
    todo = [DOCS / "architecture.md", DOCS / "hacking.md", ROOT / "README.md"]
    while todo:
        path = todo.pop()
        if path not in seen and path.suffix == ".md" and path.is_file():
            seen.add(path)
            links = _LINK.findall(prose(path.read_text(encoding="utf-8")))
            todo += [(path.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link]
    alone = {path for path in DOCUMENTS if path.is_relative_to(DOCS)} - seen - set(DECISIONS)
    assert {named(path) for path in alone} == set()


def test_the_changelog_has_a_place_for_what_comes():
    titles = re.findall(r"^## (.*)$", (DOCS / "changelog.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[0] == "Unreleased"


def test_a_broken_link_is_found(tmp_path):
    document = tmp_path / "a.md"
    document.write_text(
        "# A b, c\n[1](b.md) [2](#a-b-c) [3](#d) [4](http://x/y.md) `[5](c.md)`\n```\n[6](d.md)\n```\n[7](./)\n"
    )
    assert broken_links(document) == ["b.md", "#d"]


def test_a_broken_example_is_found():
    text = "```python\nx = = 1\n```\n```\nx = = 1\n```\n```python\nx = 1\n```\n"
    assert len(unreadable_blocks(text)) == 1
