"""docs/volumes.md tells what the code says: options, file format, limits."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from svcmgr.errors import BadInput
from svcmgr.host import volfiles, volume_file
from svcmgr.paths import NAME_MAX
from svcmgr.volume import OPTIONS, Option, Volume, canonical
from svcmgr.volume.info import BRICKS_MAX, RESERVED_NAMES
from tests.kit.tracked import ROOT

DOC = (ROOT / "docs" / "volumes.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return DOC[DOC.index(f"\n## {title}\n") :][1:].partition("\n## ")[0]


def row(option: Option) -> str:
    default = f"`{option.default}`" if option.default else ""
    return f"| `{option.name}` | {option.type} | {default} | {', '.join(sorted(option.kinds))} | {option.help} |"


def test_the_table_of_options_is_the_code_s():
    rows = [line for line in section("Options").splitlines() if re.match(r"\| `[a-z]+\.", line)]
    assert rows == [row(option) for option in OPTIONS.values()], "the table in docs/volumes.md is out of date"


def test_every_type_is_explained():
    explained = set(re.findall(r"^\| ([a-z]+) \| ", section("Options"), re.MULTILINE)) - {"option", "type"}
    assert explained == {option.type for option in OPTIONS.values()}


@pytest.mark.parametrize("name", [option.name for option in OPTIONS.values() if option.type == "bool"])
def test_every_word_for_a_boolean_is_taken(name):
    (line,) = [line for line in section("Options").splitlines() if line.startswith("| bool | `")]
    words = re.findall(r"`(\w+)`", line)
    assert {canonical(name, word) for word in words} == {"on", "off"}
    assert {canonical(name, word.upper()) for word in words} == {"on", "off"}
    with pytest.raises(BadInput):
        canonical(name, "maybe")


def test_the_example_of_a_file_is_one(tmp_path):
    (example,) = re.findall(r"```json\n(.*?)```", section("On disk"), re.DOTALL)
    path = tmp_path / "v0.json"
    path.write_text(example)
    volume = volume_file.read(path)
    assert isinstance(volume, Volume)
    assert json.loads(volume_file.encode(volume)) == json.loads(example)
    assert list(msgspec.json.decode(volume_file.encode(volume))) == list(json.loads(example))


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("What a volume is", f"at most {NAME_MAX} characters"),
        ("What a volume is", f"1 to {BRICKS_MAX} directories"),
        ("What a volume is", f"not `{', '.join(RESERVED_NAMES)}`"),
        ("On disk", f"over {volume_file.FILE_MAX >> 20} MiB"),
        ("The volfile server", f"at most {volfiles.ID_MAX} bytes"),
        ("The volfile server", f"at most {volfiles.TEXT_MAX >> 20} MiB"),
    ],
)
def test_limits_are_the_code_s(title, text):
    assert text in section(title)
