"""True daemon processes for tests: start one, wait for a condition, look at what is left."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from svcmgr.conn.blocking import BlockingClient

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0


def until(condition, what="condition"):
    """Poll ``condition`` until it is true; its value. Fails the test after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.005)
    return value


class DaemonProc:
    """One daemon with its pidfile, log and socket in ``where``."""

    def __init__(self, where, *flags, daemon="tests.kit.oddd:Oddd", environ=None, standard=True, name="d"):
        self.where = Path(where)
        self.pidfile = self.where / f"{name}.pid"
        self.log = self.where / f"{name}.log"
        self.socket = self.where / f"{name}.sock"
        given = ["-p", str(self.pidfile), "-l", str(self.log), "-S", str(self.socket)] if standard else []
        self.argv = [sys.executable, "-m", "svcmgr.services", daemon, *given, *map(str, flags)]
        inherited = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
        self.environ = {**inherited, "PYTHONPATH": str(ROOT), **(environ or {})}

    def __enter__(self):
        self.process = subprocess.Popen(
            self.argv,
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def pid(self):
        return self.process.pid

    def up(self):
        """Wait until it answers; itself."""
        until(self.answers, f"an answer of {self.argv}; log: {self.text()}")
        return self

    def answers(self):
        assert self.process.poll() is None, f"exited {self.process.returncode}: {self.text()}{self.output()}"
        with contextlib.suppress(Exception), self.client() as client:
            client.call("statistics")
            return True
        return False

    def client(self):
        return BlockingClient(str(self.socket), timeout=PATIENCE_S)

    def call(self, verb, params=None):
        with self.client() as client:
            return client.call(verb, params)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Wait for the end; the exit code."""
        return self.process.wait(PATIENCE_S)

    def end(self):
        self.signal(signal.SIGTERM)
        return self.wait()

    def output(self):
        """What it wrote to its first stdout and stderr, until it ended."""
        return self.process.stdout.read().decode()

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def saw(self, text):
        """Wait until the log has ``text``."""
        until(lambda: text in self.text(), f"{text!r} in the log")


@contextlib.contextmanager
def notify_socket(path):
    """A supervisor's datagram socket; receives with a deadline."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(PATIENCE_S)
        yield receiver
