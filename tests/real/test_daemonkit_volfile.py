"""A daemon and its volfile server: the first fetch, later ones, and a server that is away."""

import signal
import time

import pytest

from svcmgr.errors import ReconfigureFailed
from tests.kit.daemonproc import DaemonProc, until
from tests.kit.volfiles import VolfileServer


@pytest.fixture
def server(tmp_path):
    server = VolfileServer(tmp_path / "volfiles.sock")
    server.texts["odd/one"] = "first"
    return server


def _daemon(server, tmp_path, volfile_id="odd/one", **more):
    return DaemonProc(tmp_path, "-s", server.path, "--volfile-id", volfile_id, **more)


def test_the_volfile_is_there_before_anything_is_open(server, tmp_path):
    with server.serving(), _daemon(server, tmp_path) as daemon:
        assert daemon.up().call("volfile") == "first"
        facts = daemon.call("statistics")["configured"]
        assert (facts["result"], facts["count"]) == ("configured", 1)
        text = daemon.text()
        assert text.index("step configure first") < text.index("step open outer")


def test_an_unknown_id_exits_2(server, tmp_path):
    with server.serving(), _daemon(server, tmp_path, "odd/unknown") as daemon:
        assert daemon.wait() == 2
        assert "odd/unknown" in daemon.text()
        assert "Traceback" not in daemon.text()


def test_no_server_exits_107_soon(server, tmp_path):
    before = time.monotonic()
    with _daemon(server, tmp_path) as daemon:
        assert daemon.wait() == 107
        assert str(server.path) in daemon.text()
        assert "Traceback" not in daemon.text()
        assert "open outer" not in daemon.text()
    assert time.monotonic() - before < 10


def test_a_server_that_comes_a_little_late_is_found(server, tmp_path):
    with _daemon(server, tmp_path) as daemon:
        daemon.saw("starting")
        with server.serving():
            assert daemon.up().call("volfile") == "first"


def test_a_signal_while_the_server_is_awaited_ends_the_start(server, tmp_path):
    with _daemon(server, tmp_path) as daemon:
        daemon.saw("fetching volfile")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


def test_a_volfile_that_the_daemon_refuses_exits_1(server, tmp_path):
    server.texts["odd/one"] = "bad"
    with server.serving(), _daemon(server, tmp_path) as daemon:
        assert daemon.wait() == 1
        assert "cannot like this volfile" in daemon.text()


def test_hangup_takes_over_a_changed_volfile(server, tmp_path):
    with server.serving(), _daemon(server, tmp_path) as daemon:
        daemon.up()
        server.texts["odd/one"] = "second"
        daemon.signal(signal.SIGHUP)
        daemon.saw("step configure second")
        until(lambda: daemon.call("statistics")["configured"]["count"] == 2)
        assert daemon.call("volfile") == "second"


def test_an_unchanged_volfile_is_not_applied_again(server, tmp_path):
    with server.serving(), _daemon(server, tmp_path) as daemon:
        answer = daemon.up().call("reconfigure")
        assert answer["result"] == "unchanged"
        assert answer["count"] == 1
        assert daemon.text().count("step configure") == 1
        assert server.requests == ["odd/one", "odd/one"]


def test_a_bad_new_volfile_leaves_the_old_one(server, tmp_path):
    with server.serving(), _daemon(server, tmp_path) as daemon:
        daemon.up()
        server.texts["odd/one"] = "bad"
        with pytest.raises(ReconfigureFailed):
            daemon.call("reconfigure")
        facts = daemon.call("statistics")["configured"]
        assert facts["result"] == "failed"
        assert "cannot like this volfile" in facts["error"]
        assert daemon.call("volfile") == "first"


def test_a_server_that_is_gone_leaves_the_old_one(server, tmp_path):
    with _daemon(server, tmp_path) as daemon:
        with server.serving():
            daemon.up()
        daemon.signal(signal.SIGHUP)
        daemon.saw("cannot reconfigure")
        assert daemon.call("volfile") == "first"
        with server.serving():
            server.texts["odd/one"] = "third"
            assert daemon.call("reconfigure")["result"] == "configured"
            assert daemon.call("volfile") == "third"
