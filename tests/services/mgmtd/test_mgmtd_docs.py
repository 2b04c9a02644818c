"""docs/mgmtd.md says every key of the configuration, its default, and whether it does something."""

from __future__ import annotations

import re

import attrs

from svcmgr.services.mgmtd.config.own import MGMTD
from svcmgr.services.mgmtd.settings import _RENAMED, Settings
from tests.kit.tracked import ROOT

ROW = re.compile(r"^\| (\*?)`([a-z_.]+)`\*? \| `(.+?)` \| (.+) \|$", re.MULTILINE)


def test_every_key_is_there_as_it_is():
    used = {field.name for field in attrs.fields(Settings)}
    said = {name: (not star, default, text) for star, name, default, text in ROW.findall(_text())}
    true = {
        key.name: (_RENAMED.get(key.name, key.name) in used, key.kind.show(key.default), key.help) for key in MGMTD.keys
    }
    assert said == true


def _text() -> str:
    return (ROOT / "docs" / "mgmtd.md").read_text()
