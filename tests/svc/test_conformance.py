"""Every kind keeps the promises of a service, also one of fifteen lines; and a kind that breaks one is found out."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import BadDefinition
from svcmgr.services.command.service import CommandService
from svcmgr.services.daemon import DaemonService
from svcmgr.services.mgmtd.service import MgmtdService
from svcmgr.services.snapd.service import SnapdService
from svcmgr.svc import Restart, Service
from svcmgr.volume import Volume
from tests.kit.conformance_service import check_service


class HellodService(Service):
    """Greets whoever asks."""

    kind = "hellod"
    stop_grace = 5.0

    def argv(self):  # type: ignore[no-untyped-def]
        return (sys.executable, "-m", "svcmgr.services", "hellod.daemon:Hellod")

    def volfile(self):  # type: ignore[no-untyped-def]
        return f'greeting = "{self.spec.options.get("greeting", "hello")}"\n'

    @classmethod
    def check(cls, spec):  # type: ignore[no-untyped-def]
        if unknown := set(spec.options) - {"greeting"}:
            raise BadDefinition(f"cannot define {spec.key}: unknown options {sorted(unknown)}")


class NotifyingService(CommandService):
    """Says when it is ready."""

    kind = "notifying"
    readiness = "notify"
    restart = Restart.ALWAYS


class OnceService(CommandService):
    """Is never started again by itself."""

    kind = "once"
    restart = Restart.NEVER


@pytest.mark.parametrize("cls", [CommandService, DaemonService, HellodService, NotifyingService, OnceService])
def test_kind(cls: type[Service], tmp_path: Path) -> None:
    check_service(cls, tmp_path)


def test_kind_snapd(tmp_path: Path) -> None:
    volume = Volume.create("1", "0f3c5b9e-6a63-4d5e-9d5b-111111111111", ["/data/1"], 0.0)
    volumes = {"1": volume.start(1.0).set({"features.uss": "on"}, 2.0)}
    check_service(SnapdService, tmp_path, volumes, command=())


def test_kind_mgmtd(tmp_path: Path) -> None:
    check_service(MgmtdService, tmp_path, command=())


def test_a_kind_fits_into_fifteen_lines() -> None:
    lines = [line for line in inspect.getsource(HellodService).splitlines() if line.strip()]
    assert len(lines) <= 15


class Fickle(CommandService):
    """Answers differently each time."""

    kind = "fickle"
    asked = 0

    def environment(self) -> Mapping[str, str]:
        self.asked += 1
        return {"N": str(self.asked)}


class Eager(CommandService):
    """Starts things by itself when asked."""

    kind = "eager"

    def manager(self, volumes: Mapping[str, Any], *, held: str = "", unstoppable: bool = False) -> None:
        self.start()


class Careless(CommandService):
    """Takes any option."""

    kind = "careless"

    @classmethod
    def check(cls, spec: object) -> None:
        pass


class Nameless(CommandService):
    """Has no name."""

    kind = ""


class Leaky(CommandService):
    """Opens a file at each start and forgets it."""

    kind = "leaky"
    kept: list[object] = []  # noqa: RUF012 - the point

    def init(self) -> None:
        super().init()
        self.kept.append(open("/dev/null"))  # noqa: SIM115 - the point


@pytest.mark.parametrize(
    ("cls", "promise"),
    [
        (Fickle, "environment does not give the same answer twice"),
        (Eager, "asking the manager again changed something"),
        (Careless, "unknown options are accepted"),
        (Nameless, "a kind needs a name"),
        (Leaky, "descriptors are left open"),
    ],
)
def test_a_kind_that_breaks_a_promise_is_found_out(cls: type[Service], promise: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ExceptionGroup)) as caught:
        check_service(cls, tmp_path)
    assert promise in "".join(traceback.format_exception(caught.value))
    for file in Leaky.kept:
        file.close()  # type: ignore[attr-defined]
    Leaky.kept.clear()
