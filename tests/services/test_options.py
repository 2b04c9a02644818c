"""The standard flags of a daemon."""

import os
from pathlib import Path

import pytest

from svcmgr.errors import BadInput
from svcmgr.services.daemonkit.options import parse_options


def _parse(*argv, add_flags=lambda parser: None):
    return parse_options("testd", argv, add_flags)


def test_nothing_is_required():
    options = _parse()
    assert (options.volfile_server, options.volfile_id, options.pidfile) == (None, None, None)
    assert (options.logfile, options.socket, options.debug, options.log_level) == (None, None, False, "info")


def test_all_standard_flags():
    options = _parse("-s", "/v", "--volfile-id", "clock/one", "-p", "/p", "-l", "/l", "-S", "/s", "-N")
    assert options.volfile_server == Path("/v")
    assert options.volfile_id == "clock/one"
    assert (options.pidfile, options.logfile, options.socket) == (Path("/p"), Path("/l"), Path("/s"))


def test_relative_paths_become_absolute():
    assert _parse("-l", "x.log").logfile == Path(os.getcwd(), "x.log")


@pytest.mark.parametrize("flag", ["-v", "--debug"])
def test_debug_sets_the_level(flag):
    options = _parse(flag, "--log-level", "error")
    assert options.debug
    assert options.log_level == "debug"


def test_a_daemon_has_flags_of_its_own():
    options = _parse("--volume", "v0", add_flags=lambda parser: parser.add_argument("--volume"))
    assert options.flags.volume == "v0"


@pytest.mark.parametrize(
    "argv",
    [
        ["--no-such-flag"],
        ["-p"],
        ["-p", ""],
        ["--volfile-id", "", "-s", "/v"],
        ["--volfile-id", "without-server"],
        ["--log-level", "loud"],
        ["stray"],
        ["--pid", "/p"],
    ],
)
def test_bad_flags_print_usage_and_exit_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        _parse(*argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: testd")


@pytest.mark.parametrize("flag", ["-S", "-s"])
def test_a_socket_path_must_fit_a_socket_address(flag):
    fits = "/" + "a" * 106
    _parse(flag, fits)
    with pytest.raises(BadInput) as caught:
        _parse(flag, fits + "b")
    assert caught.value.details["size"] == 108
