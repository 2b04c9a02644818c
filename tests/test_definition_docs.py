"""docs/cli.md tells of every key that a definition may have."""

from __future__ import annotations

from svcmgr.host.definitions import Definition
from tests.kit.tracked import ROOT


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    section = text[text.index("## Definitions") :].partition("\n## ")[0]
    assert [key for key in Definition.__struct_fields__ if f"`{key}`" not in section] == []
