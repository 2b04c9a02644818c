"""What a running daemon does on signals and verbs, and how it ends."""

import asyncio
import json
import random
import signal
import time

import msgspec
import pytest

from svcmgr.clock import SystemClock
from svcmgr.conn import Connected, Connection, ConnSpec, Pushed
from svcmgr.errors import InternalError, SvcmgrError
from svcmgr.sdnotify import parse
from tests.kit.daemonproc import ROOT, DaemonProc, notify_socket, until


def _steps(daemon):
    return [line.split("step ", 1)[1] for line in daemon.text().splitlines() if "step " in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_orderly(tmp_path, number):
    with (
        notify_socket(tmp_path / "n") as supervisor,
        DaemonProc(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "n")}) as daemon,
    ):
        assert parse(supervisor.recv(5000)).ready
        daemon.signal(number)
        assert parse(supervisor.recv(5000)).stopping
        assert daemon.wait() == 0
        assert not daemon.socket.exists()
        assert _steps(daemon) == ["configure None", "open outer", "open inner", "close inner", "close outer"]
        assert "Traceback" not in daemon.text()


def test_a_call_in_flight_ends_before_the_resources_close(tmp_path):
    with DaemonProc(tmp_path) as daemon, daemon.up().client() as client:
        with pytest.raises(SvcmgrError):
            client.call("slow", timeout=0.2)
        daemon.saw("step slow begins")
        assert daemon.end() == 0
        assert _steps(daemon)[-3:] == ["slow ends", "close inner", "close outer"]


def test_signals_again_and_again_change_nothing(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        daemon.up()
        for _ in range(20):
            daemon.signal(signal.SIGTERM)
            daemon.signal(signal.SIGHUP)
            daemon.signal(signal.SIGUSR1)
        assert daemon.wait() == 0
        assert _steps(daemon)[-1] == "close outer"


def test_terminate_answers_and_ends(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        assert daemon.up().call("terminate", {"reason": "moving house"}) == {"pid": daemon.pid}
        assert daemon.wait() == 0
        assert "moving house" in daemon.text()
        assert _steps(daemon)[-1] == "close outer"


def test_a_daemon_may_end_itself(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        daemon.up().call("leave")
        assert daemon.wait() == 0


def test_a_bug_in_a_task_of_the_daemon_exits_70_with_a_traceback(tmp_path):
    with DaemonProc(tmp_path, "--fault", "crash") as daemon:
        assert daemon.wait() == 70
        assert "RuntimeError: a bug in a task of the daemon" in daemon.text()
        assert _steps(daemon)[-1] == "close outer"
        assert not daemon.socket.exists()


def test_a_bug_in_a_handler_is_the_callers_error_and_the_logs_traceback(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        with pytest.raises(InternalError) as caught:
            daemon.up().call("bug")
        assert "a bug in a handler" not in caught.value.message
        daemon.saw("RuntimeError: a bug in a handler")
        assert daemon.call("echo", {"text": "alive"}) == "alive"


def test_who_has_no_access_is_refused(tmp_path):
    with DaemonProc(tmp_path, "--fault", "access") as daemon:
        until(daemon.socket.exists)
        with pytest.raises(SvcmgrError):
            daemon.call("statistics")
        assert daemon.process.poll() is None


# --- SIGHUP --------------------------------------------------------------------------------------


def test_hangup_reopens_the_log(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        daemon.up()
        daemon.log.rename(tmp_path / "moved")
        daemon.signal(signal.SIGHUP)
        daemon.saw("configured")
        assert "step open inner" in (tmp_path / "moved").read_text()
        facts = daemon.call("statistics")
        assert facts["log"]["reopened"] == 1
        assert facts["configured"]["count"] == 2
        assert facts["configured"]["result"] == "configured"


def test_hangup_with_no_place_for_the_log_goes_on_with_the_old_one(tmp_path):
    (tmp_path / "logs").mkdir()
    with DaemonProc(tmp_path, "-l", tmp_path / "logs" / "d.log") as daemon:
        daemon.up()
        (tmp_path / "logs").rename(tmp_path / "moved")
        (tmp_path / "logs").write_text("in the way")
        daemon.signal(signal.SIGHUP)
        until(lambda: "logging goes on" in (tmp_path / "moved" / "d.log").read_text())
        assert daemon.call("echo", {"text": "alive"}) == "alive"


def test_hangup_is_announced_as_a_reload(tmp_path):
    with (
        notify_socket(tmp_path / "n") as supervisor,
        DaemonProc(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "n")}) as daemon,
    ):
        assert parse(supervisor.recv(5000)).ready
        before = time.monotonic()
        daemon.signal(signal.SIGHUP)
        reloading = parse(supervisor.recv(5000))
        assert reloading.reloading
        assert before * 1e6 <= reloading.monotonic_usec <= time.monotonic() * 1e6
        assert parse(supervisor.recv(5000)).ready


# --- statistics ----------------------------------------------------------------------------------


def test_usr1_dumps_what_the_verb_says(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        said = daemon.up().call("statistics")
        daemon.signal(signal.SIGUSR1)
        daemon.saw('"section":"own"')
        lines = [json.loads(line) for line in daemon.text().splitlines() if line.startswith("{")]
    dumped = {line["section"]: line["facts"] for line in lines}
    assert set(dumped) == set(said) == {"daemon", "server", "workers", "configured", "log", "notify", "own"}
    assert dumped["daemon"]["pid"] == said["daemon"]["pid"] == daemon.pid
    assert dumped["own"] == said["own"]
    assert all(line["statistics"] == "oddd" for line in lines)


def test_a_bug_in_statistics_costs_the_answer_only(tmp_path):
    with DaemonProc(tmp_path, "--fault", "statistics") as daemon:
        until(daemon.socket.exists)
        daemon.signal(signal.SIGUSR1)
        daemon.saw("a bug in statistics")
        with pytest.raises(InternalError):
            daemon.call("statistics")
        assert daemon.call("echo", {"text": "alive"}) == "alive"


def test_a_failing_worker_shows_in_statistics_and_once_in_the_log(tmp_path):
    with DaemonProc(tmp_path, "--fault", "worker", "--worker-s", "0.005") as daemon:
        daemon.up()
        until(lambda: daemon.call("statistics")["workers"]["work"]["failures"] > 5)
        assert daemon.text().count("cannot work") == 1
        assert daemon.end() == 0


# --- watchdog ------------------------------------------------------------------------------------


def test_the_watchdog_is_fed_and_a_blocked_loop_is_silent(tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "200000"}
    with notify_socket(tmp_path / "n") as supervisor, DaemonProc(tmp_path, environ=environ) as daemon:
        daemon.up()
        for _ in range(10):
            _next_watchdog(supervisor)
        _drain(supervisor)
        daemon.call("block")
        # A second has passed; had anybody but the loop fed the watchdog, there would be ten.
        assert _drain(supervisor) <= 2
        _next_watchdog(supervisor)


def _next_watchdog(supervisor):
    while not parse(supervisor.recv(5000)).watchdog:
        pass


def _drain(supervisor):
    """How many datagrams were waiting."""
    supervisor.setblocking(False)
    count = 0
    try:
        while supervisor.recv(5000):
            count += 1
    except BlockingIOError:
        return count
    finally:
        supervisor.settimeout(20)


def test_a_watchdog_for_another_process_is_not_fed(tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "10000", "WATCHDOG_PID": "1"}
    with notify_socket(tmp_path / "n") as supervisor, DaemonProc(tmp_path, environ=environ) as daemon:
        assert parse(supervisor.recv(5000)).ready
        daemon.up().end()
        notes = []
        while not (notes and notes[-1].stopping):
            notes.append(parse(supervisor.recv(5000)))
        assert not any(note.watchdog for note in notes)


def test_the_supervisor_may_go_and_come_back(tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "20000"}
    with DaemonProc(tmp_path, environ=environ) as daemon:
        with notify_socket(tmp_path / "n") as supervisor:
            _next_watchdog(supervisor)
        (tmp_path / "n").unlink()
        daemon.up()
        until(lambda: daemon.call("statistics")["notify"]["failed"] > 3)
        with notify_socket(tmp_path / "n") as supervisor:
            _next_watchdog(supervisor)
        assert daemon.text().count("cannot notify") == 1


def test_a_status_cannot_smuggle_a_key(tmp_path):
    with (
        notify_socket(tmp_path / "n") as supervisor,
        DaemonProc(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "n")}) as daemon,
    ):
        assert parse(supervisor.recv(5000)).ready
        daemon.call("status")
        note = parse(supervisor.recv(5000))
        assert (note.ready, note.status) == (False, "busy READY=1")


# --- the example ---------------------------------------------------------------------------------


def test_clockd_tells_the_time(tmp_path):
    journal = tmp_path / "journal"
    with DaemonProc(tmp_path, "--journal", journal, daemon="examples.clockd:Clockd") as daemon:
        daemon.up()
        assert daemon.call("time").endswith("Z")
        assert daemon.call("set-format", {"format": "it is %Y"}).startswith("it is 2")
        assert daemon.call("time").startswith("it is 2")
        until(lambda: daemon.call("statistics")["own"]["ticks"] > 0)
        assert daemon.end() == 0
    assert journal.read_text() == "format 'it is %Y'\nclosed\n"


def test_clockd_runs_as_a_file_too(tmp_path):
    daemon = DaemonProc(tmp_path)
    daemon.argv[1:4] = [str(ROOT / "examples" / "clockd.py")]
    with daemon:
        assert daemon.up().end() == 0


def test_clockd_ticks_for_who_watches(tmp_path):
    async def watch(path):
        ticks = asyncio.Queue()
        up = asyncio.Event()

        def notify(event):
            if isinstance(event, Pushed):
                ticks.put_nowait((event.topic, event.payload))
            elif isinstance(event, Connected):
                up.set()

        connection = Connection(ConnSpec(f"unix:{path}"), clock=SystemClock(), rng=random.Random(1), notify=notify)
        connection.connect(1)
        try:
            async with asyncio.timeout(20):
                await up.wait()
                await connection.call("watch")
                return await ticks.get()
        finally:
            await connection.term()

    with DaemonProc(tmp_path, daemon="examples.clockd:Clockd") as daemon:
        topic, payload = asyncio.run(watch(daemon.up().socket))
    assert topic == "tick"
    assert msgspec.msgpack.decode(payload).endswith("Z")
