"""The rules of the house, checked on the source: rooms, third parties, cycles, purity, sizes, doors, diagrams.

docs/architecture.md tells what the rooms are and why. The rules themselves are tested in test_architecture_rules.py,
on a small package that breaks each of them.
"""

from __future__ import annotations

import re

import pytest

from tests.kit import diagrams, rules
from tests.kit.imports import Package, read_package, within
from tests.kit.rules import room, words
from tests.kit.tracked import ROOT, text_files

ROOT_MODULES = words("errors clock fsm fsutil paths background sdnotify btrfs")

#: What the look at a dead svcmgrd's root may use of other rooms; see docs/adr/0013.
OFFLINE_USES = (
    "root host.wire host.wire_status host.facts proc.pidfile proc.logread proc.follow proc.procfs proc.identity"
)

ROOMS = {
    "root": room(third="attrs msgspec"),
    "conn": room("root", "attrs msgspec zmq"),
    "proc": room("root", "attrs psutil"),
    "svc": room("root conn proc", "attrs"),
    "volume": room("root", "attrs"),
    "monclient": room("root conn", "attrs msgspec"),
    # host side of a daemon; its daemon side; what the two say to each other
    "services.host-side": room("root svc volume services.wire", "attrs"),
    "services.daemonkit": room("root conn proc.pidfile services.wire", "attrs msgspec"),
    "services.wire": room("root", "msgspec"),
    "services.door": room(),
    "host": room(
        "root conn proc svc volume host.wire host.wire_status host.wire_volumes services.host-side services.wire",
        "attrs msgspec tomli_w",
    ),
    "host.wire": room("root host.wire_status", "msgspec"),
    "host.wire_status": room("root", "msgspec"),
    "host.wire_volumes": room("root", "msgspec"),
    "host.offline": room(OFFLINE_USES, "msgspec"),
    "cli": room(
        "root conn host.wire host.wire_status host.wire_volumes host.offline monclient services.wire", "click msgspec"
    ),
}
#: A daemon's own side: everything in services/X that is neither host side nor wire; X may not know another Y.
DAEMON_SIDE = room("root conn proc volume monclient services.daemonkit", "attrs msgspec")
DAEMON_THIRD = {
    "mgmtd": "aetcd",
    "volumed": "litestar starlette uvicorn prometheus_client",
    "snapd": "",
}

#: Imports from outside that have one home, whichever room it is in.
CONFINED = {
    "zmq": {"svcmgr.conn.zeromq"},
    "psutil": {"svcmgr.proc.usage"},
    "click": {"svcmgr.cli"},
    "rich": set[str](),
    "tomli_w": {"svcmgr.host.definitions"},
    "tomllib": {
        "svcmgr.host.definitions",
        "svcmgr.host.offline",
        "svcmgr.cli.definition",
        "svcmgr.conn.keyring",
        "svcmgr.services.mgmtd.config.document",
        "svcmgr.services.mgmtd.config.places",
    },
    "importlib.metadata": {"svcmgr.svc.registry"},
    "ctypes": {f"svcmgr.proc.{name}" for name in ("linux", "filerange", "inotify", "mounts", "beneath", "credentials")},
    "time": {"svcmgr.clock"},
    "datetime": {"svcmgr.clock"},
    "subprocess": {"svcmgr.proc.launch", "svcmgr.cli.launch"},
    "multiprocessing": set[str](),
    "sqlite3": {"svcmgr.services"},
}

IMPURE = words("asyncio time os random logging socket subprocess zmq psutil threading selectors")
#: Engines, specs and wire formats. What is planned and not yet there is checked from the day it is.
PURE = words(
    """
    errors fsm
    conn.frame conn.session conn.transport conn.calls conn.effects conn.events conn.inbound conn.machine conn.retry
    conn.verbs conn.access conn.keyring conn.zeromq.pieces conn.zeromq.arrivals
    proc.spec proc.stopper proc.identity proc.tree proc.seam
    svc.spec svc.lifecycle svc.backoff svc.graph svc.events svc.status
    volume.checks volume.civil volume.free volume.info volume.options volume.snapshot
    volume.volcompare volume.volfile volume.volgen volume.volgraph volume.volwords
    host.wire host.wire_status host.wire_volumes services.wire
    services.snapd.wire services.snapd.retention services.snapd.schedule services.snapd.exposed
    services.mgmtd.states services.mgmtd.errors
    services.mgmtd.config services.mgmtd.config.errors services.mgmtd.config.facts services.mgmtd.config.places
    services.mgmtd.config.document services.mgmtd.config.kinds services.mgmtd.config.schema services.mgmtd.config.tags
    services.mgmtd.config.template services.mgmtd.config.samples services.mgmtd.config.checking
    services.mgmtd.config.differences services.mgmtd.config.version services.mgmtd.config.history
    services.mgmtd.config.running services.mgmtd.config.own
    services.mgmtd.config.stages services.mgmtd.config.rollevents services.mgmtd.config.rollmachine
    services.mgmtd.config.rollstate services.mgmtd.config.rollout
    services.snapd.view.inodes services.snapd.view.protocol services.snapd.view.shown
    services.mgmtd.simnode services.mgmtd.wire.base services.mgmtd.wire.nodes services.mgmtd.wire.heartbeats
    services.mgmtd.wire.chains services.mgmtd.wire.routing services.mgmtd.wire.configs services.mgmtd.wire.clients
    services.mgmtd.wire.itself
    services.mgmtd.ids services.mgmtd.states services.mgmtd.errors services.mgmtd.targets services.mgmtd.chain
    services.mgmtd.chains services.mgmtd.reorder services.mgmtd.explain services.mgmtd.members services.mgmtd.tables
    services.mgmtd.tags services.mgmtd.release services.mgmtd.nodes services.mgmtd.membership services.mgmtd.selectors
    services.mgmtd.moment services.mgmtd.changes services.mgmtd.cluster services.mgmtd.contacts services.mgmtd.faces
    services.mgmtd.history services.mgmtd.infos services.mgmtd.recording services.mgmtd.routing
    services.mgmtd.sessions services.mgmtd.settings services.mgmtd.rounds
    services.mgmtd.store.faults services.mgmtd.store.protocol services.mgmtd.store.retry services.mgmtd.store.splitting
    services.mgmtd.store.keys services.mgmtd.store.records services.mgmtd.store.census services.mgmtd.store.dump
    services.mgmtd.lease_terms services.mgmtd.lease_machine services.mgmtd.lease
    services.mgmtd.heartbeats services.mgmtd.reports
    """,
    prefix="svcmgr.",
)
#: What a pure module may know besides: names of files and services (paths computes, and looks at nothing here), and a
#: door that only loads pure modules.
ALMOST_PURE = frozenset({"svcmgr", "svcmgr.paths", "svcmgr.services.mgmtd.wire"})
PLANNED_PURE = words(
    """
    monclient.hunt monclient.subs monclient.commands monclient.monmap
    services.volumed.wire services.volumed.correlate
    """,
    prefix="svcmgr.",
)

MODULE_LINES, MODULE_MEDIAN = 400, 150
FUNCTION_LINES, FUNCTION_MEDIAN = 80, 12
PARAMETERS = 6

#: Words and paths that belong to somebody's desk, not to the project. Spelled so that this line is no match.
FOREIGN_WORDS = re.compile(
    r"/wor[k]/|/tm[p]/wt-|/roo[t]/\.|/hom[e]/(?!USER|me\b)\w|\bwork[t]ree|\bchat[b]ot|\bA[I] (assistant|agent|model)\b"
    r"|\bL[L]M\b|\bissue [#]\d|\(#\d+\)|\b(?-i:FIXM[E]|TOD[O]|XX[X])\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def package() -> Package:
    return read_package(ROOT / "svcmgr")


def room_of(name: str) -> str:
    """The room of a module, from its dotted name."""
    parts = name.split(".")[1:]
    if not parts or (len(parts) == 1 and parts[0] in ROOT_MODULES):
        return "root"
    if parts[0] == "services":
        return _room_of_service(parts)
    two = ".".join(parts[:2])
    if two in ("host.wire", "host.wire_status", "host.wire_volumes", "host.offline"):
        return two
    return parts[0]


def _room_of_service(parts: list[str]) -> str:
    if len(parts) == 1:
        return "services.door"
    if parts[1] in ("daemonkit", "__main__"):
        return "services.daemonkit"
    if parts[1] == "daemon" or parts[2:] == ["service"]:
        return "services.host-side"
    # What a daemon refuses is part of what it says: a client tells errors apart by their class.
    if parts[1] == "wire" or parts[2:3] in (["wire"], ["errors"]):
        return "services.wire"
    return f"services.{parts[1]}" if len(parts) > 2 else "services.door"


def rooms_of(package: Package) -> dict[str, rules.Room]:
    """ROOMS, with one more for each daemon that has a side of its own."""
    rooms = dict(ROOMS)
    for name in package.modules:
        home = room_of(name)
        daemon = home.removeprefix("services.")
        if daemon in DAEMON_THIRD:
            third = DAEMON_SIDE.third | words(DAEMON_THIRD[daemon])
            rooms[home] = rules.Room(DAEMON_SIDE.may | {"services.wire"}, third)
    return rooms


def is_daemon_side(name: str) -> bool:
    home = room_of(name)
    return home == "services.daemonkit" or home.removeprefix("services.") in DAEMON_THIRD


def is_supervisor(name: str) -> bool:
    return (
        any(within(name, f"svcmgr.{part}") for part in ("svc", "host", "cli")) or room_of(name) == "services.host-side"
    )


def test_every_module_has_a_room(package):
    assert rules.unknown_rooms(package, room_of, rooms_of(package)) == []


def test_rooms_import_only_what_they_may(package):
    assert rules.leaks(package, room_of, rooms_of(package)) == []


def test_third_party_packages_stay_where_they_are_wanted(package):
    assert rules.third_party_leaks(package, room_of, rooms_of(package)) == []


def test_confined_modules_have_one_home(package):
    assert rules.escapes(package, CONFINED) == []


def test_no_import_cycles(package):
    assert rules.cycles(package) == []


def test_pure_modules_are_pure(package):
    assert rules.impurities(package, (PURE | PLANNED_PURE) & set(package.modules), IMPURE, ALMOST_PURE) == []


def test_the_pure_list_names_modules_that_exist(package):
    assert set(package.modules) >= PURE
    assert PLANNED_PURE.isdisjoint(package.modules), "built: move it to PURE"


def test_svcmgrd_loads_no_daemon_side(package):
    assert rules.reaches(package, "svcmgr.host.daemon", is_daemon_side) == []


def test_host_side_of_a_daemon_loads_no_daemon_side(package):
    sides = [name for name in package.modules if room_of(name) == "services.host-side"]
    assert len(sides) >= 2
    assert [breach for name in sides for breach in rules.reaches(package, name, is_daemon_side)] == []


def test_a_daemon_loads_no_supervisor(package):
    sides = [name for name in package.modules if is_daemon_side(name)]
    assert "svcmgr.services.daemonkit" in sides
    assert [breach for name in sides for breach in rules.reaches(package, name, is_supervisor)] == []


def test_sizes(package):
    assert rules.oversized(package, MODULE_LINES, FUNCTION_LINES, PARAMETERS) == []


def test_medians(package):
    assert rules.over_median(package, FUNCTION_MEDIAN, MODULE_MEDIAN) == []


def test_doors_only_re_export(package):
    assert rules.busy_doors(package, constants=("PROTOCOL",)) == []


def test_nothing_is_swallowed(package):
    assert rules.swallowers(package) == []


def test_every_machine_is_called_table(package):
    assert rules.misnamed_tables(package) == []


def test_diagrams_are_fresh(package):
    drawn = diagrams.machines(package)
    assert {"service.dot", "stop.dot", "connection.dot"} <= set(drawn)
    assert diagrams.stale(drawn, diagrams.DIRECTORY) == [], "run: python -m tests.kit.diagrams --write"


def test_the_project_speaks_of_itself_alone():
    files = text_files()
    assert ROOT / "setup.cfg" in files
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FOREIGN_WORDS.search(line)
    ]
    assert found == []
