"""The way to the snapshot daemon of a volume, and why there is none when nobody answers.

The commands talk to snapd itself, so they work while svcmgrd is down. Only when nobody listens is svcmgrd asked, and
its answer becomes one sentence with the command that helps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from svcmgr import paths
from svcmgr.cli.app import QUICK_S, App
from svcmgr.errors import NoSvcmgrd, NotRunning, SvcmgrError, UnknownService

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient

_USS = "features.uss"


def key_of(volume: str) -> str:
    """The service that keeps the snapshots of ``volume``. Raises BadInput for what cannot name a volume."""
    return f"snapd@{paths.check_name(volume, 'volume name')}"


@contextlib.contextmanager
def reach(app: App, volume: str, timeout: float = QUICK_S) -> Iterator[BlockingClient]:
    """A client of the snapd of ``volume``; ``timeout`` in seconds for each call that names no other.

    Raises:
        BadInput: ``volume`` cannot name a volume.
        SvcmgrError: nobody listens, and why; see :func:`why_not`.
    """
    client = app.connect_service(key_of(volume), timeout)
    try:
        client.connect()
    except NoSvcmgrd:
        raise why_not(app, volume) from None
    with client:
        yield client


def why_not(app: App, volume: str) -> SvcmgrError:
    """The error that says why nobody answers for ``volume``.

    Raises:
        UnknownVolume: there is no such volume.
        SvcmgrError: svcmgrd does not want to tell.
    """
    key = key_of(volume)
    try:
        with app.connect() as svcmgrd:
            return _of_volume(svcmgrd, volume) or _of_service(svcmgrd, volume, key)
    except UnknownService:
        return _not_running(volume, f"svcmgrd has no {key} yet; try again, or see `svcmgr volume info {volume}`")
    except NoSvcmgrd as error:
        return NoSvcmgrd(f"{_cannot(volume)}: {key} does not run, and svcmgrd is down", **error.details)


def _cannot(volume: str) -> str:
    return f"cannot use the snapshots of volume {volume}"


def _not_running(volume: str, why: str, **details: str) -> NotRunning:
    return NotRunning(f"{_cannot(volume)}: {why}", **details)


def _of_volume(svcmgrd: BlockingClient, volume: str) -> NotRunning | None:
    """Why ``volume`` wants no snapd; None when it wants one."""
    from svcmgr.host.wire_volumes import VolumesReply, VolumesRequest

    reply = svcmgrd.call("volume-info", VolumesRequest([volume]), type=VolumesReply)
    found = next((one for one in reply.volumes if one.name == volume), None)
    if found is None:
        why = reply.invalid.get(volume, "svcmgrd does not know it")
        return _not_running(volume, f"{why}; see `svcmgr volume info`")
    if found.status != "started":
        return _not_running(volume, f"the volume is not started; `svcmgr volume start {volume}`")
    if found.options.get(_USS) != "on":
        return _not_running(volume, f"{_USS} is off; `svcmgr volume set {volume} {_USS} on`")
    return None


def _of_service(svcmgrd: BlockingClient, volume: str, key: str) -> NotRunning:
    """Why the snapd that ``volume`` wants does not answer. Raises UnknownService."""
    from svcmgr.host.wire_status import StatusReply, StatusRequest

    reply = svcmgrd.call("status", StatusRequest([key], paths=True), type=StatusReply)
    row = next((one for one in reply.services if one.name == key), None)
    if row is None:
        raise UnknownService(f"cannot find service {key}")
    if row.status in ("online", "starting"):
        return _not_running(volume, f"{key} is {row.status} and nobody listens at {row.socket} yet; try again")
    details = {"log_tail": row.last_exit.log_tail} if row.last_exit is not None else {}
    reason = f" ({row.reason})" if row.reason else ""
    log = f", its log is {row.log}" if row.log else ""
    return _not_running(volume, f"{key} is {row.status}{reason}{log}; `svcmgr start {key}`", **details)
