"""snapd for tests: a volfile, its server, and the true process."""

import contextlib
import uuid

from svcmgr.volume import Volume, render, snapd_graph
from tests.kit.daemonproc import DaemonProc
from tests.kit.volfiles import VolfileServer

VOLUME_ID = str(uuid.UUID(int=7, version=4))


def volfile(bricks, store, mount="/nowhere/else", volume_id=VOLUME_ID, **options):
    """The text that svcmgrd would serve. ``options`` with "_" for "-", without their ``features.``"""
    volume = Volume.create("vol", volume_id, [str(brick) for brick in bricks], 1.0)
    changes = {f"features.{name.replace('_', '-')}": value for name, value in options.items()}
    changes.setdefault("features.snapshot-view", "off")
    changes.setdefault("features.snapshot-min-free", "0")
    return render(snapd_graph(volume.set(changes, 1.0), str(store), str(mount)))


class Snapd:
    """snapd of a volume with these bricks; files are kept in ``where``. May be started again and again."""

    def __init__(self, where, bricks, **options):
        self.where = where
        self.store = where / "store"
        self.bricks = bricks
        self.server = VolfileServer(where / "volfiles.sock")
        self.set(**options)

    def set(self, **options):
        self.server.texts["snapd/vol"] = volfile(self.bricks, self.store, **options)

    @contextlib.contextmanager
    def running(self):
        """The process, answering."""
        with self.server.serving(), self.process() as process:
            yield process.up()

    def process(self):
        return DaemonProc(
            self.where,
            "-s",
            self.server.path,
            "--volfile-id",
            "snapd/vol",
            daemon="svcmgr.services.snapd.daemon:Snapd",
            name="snapd",
        )
