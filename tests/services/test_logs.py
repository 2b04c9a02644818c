"""Log lines: their form, where they go, and what a full disk does."""

import logging
import os
import re
import stat

import pytest

from svcmgr.errors import StorageFailed
from svcmgr.services.daemonkit.logs import LogOutput, setup_logging


@pytest.fixture
def streams():
    """Descriptors 1 and 2 are put back, and the root logger too."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    saved = [os.dup(1), os.dup(2)]
    yield
    for number, fd in zip((1, 2), saved, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    root.handlers[:] = handlers
    root.setLevel(level)


def _log_to(path):
    output = LogOutput(path)
    output.open()
    setup_logging(output, "info")
    return output


def test_lines_are_appended_with_utc_stamps(tmp_path, streams):
    path = tmp_path / "new" / "dir" / "d.log"
    path.parent.mkdir(parents=True)
    path.write_text("before\n")
    _log_to(path)
    logging.getLogger("testd").info("hello %d", 5)
    logging.getLogger("testd").debug("not shown")
    first, second = path.read_text().splitlines()
    assert first == "before"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO testd: hello 5", second)


def test_the_directory_is_made_and_the_file_is_not_for_the_world(tmp_path, streams):
    path = tmp_path / "a" / "b" / "d.log"
    _log_to(path)
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_streams_go_to_the_file_too(tmp_path, streams):
    path = tmp_path / "d.log"
    _log_to(path)
    os.write(1, b"out\n")
    os.write(2, b"err\n")
    assert path.read_text() == "out\nerr\n"


def test_reopen_follows_the_name(tmp_path, streams):
    path = tmp_path / "d.log"
    output = _log_to(path)
    logging.getLogger("testd").info("one")
    path.rename(tmp_path / "d.log.1")
    output.reopen()
    logging.getLogger("testd").info("two")
    assert "one" in (tmp_path / "d.log.1").read_text()
    assert "two" in path.read_text()
    assert "one" not in path.read_text()
    assert output.facts()["reopened"] == 1


def test_a_message_that_does_not_fit_its_arguments_is_still_a_line(tmp_path, streams):
    path = tmp_path / "d.log"
    _log_to(path)
    logging.getLogger("testd").info("%d items", "many")
    assert "%d items" in path.read_text()


def test_a_full_disk_costs_lines_and_they_are_counted(streams):
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 2)
    os.close(full)
    output = LogOutput(None)
    output.write("nobody will read this")
    assert output.lost == 1


@pytest.mark.parametrize("kind", ["directory", "fifo", "file as directory"])
def test_a_log_that_cannot_be_one_is_refused_and_the_streams_stay(tmp_path, streams, kind):
    path = tmp_path / "d.log"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_text("")
        path = path / "d.log"
    before = os.fstat(2)
    with pytest.raises(StorageFailed):
        LogOutput(path).open()
    assert os.fstat(2) == before
