"""Plays every file of tests/scenarios; see tests.kit.scenario for the commands and for --rewrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.scenario import DIRECTORY, main, parse, perform, render

FILES = sorted(DIRECTORY.glob("*.txt"))


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, tmp_path: Path) -> None:
    assert perform(path.read_text(), tmp_path) == path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reading_and_writing_a_scenario_is_the_same(path: Path) -> None:
    assert render(parse(path.read_text())) == path.read_text()


def test_a_wrong_expectation_is_noticed_and_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("# remark\n\ndefine web\nstatus web\n----\nweb: fine\n")
    assert main([str(path)]) == 1
    assert main(["--rewrite", str(path)]) == 0
    assert path.read_text() == "# remark\n\ndefine web\nstatus web\n----\nweb: goal down, down, down, restarts 0\n"
    assert main([str(path)]) == 0


def test_a_refused_command_is_part_of_the_story(tmp_path: Path) -> None:
    text = perform("define web nice=99\nfly web\n----\n", tmp_path)
    assert "refused: cannot add web: key 'nice': 99 is not between -20 and 19" in text
    assert "refused: no such command 'fly'" in text
