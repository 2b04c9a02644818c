"""What looks wrong on this root, each finding with what to do about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping

from svcmgr.host import wire
from svcmgr.host.store import IntentStore, Ledger
from svcmgr.host.volume_store import VolumeStore
from svcmgr.paths import Layout
from svcmgr.svc import Status, Supervisor

#: Below this share of free space a file system is worth a warning.
_LOW_SPACE = 0.05


def examine(
    supervisor: Supervisor,
    layout: Layout,
    invalid: Mapping[str, str],
    store: IntentStore,
    ledger: Ledger,
    volumes: VolumeStore,
) -> list[wire.Finding]:
    """All findings, errors first; one "ok" when there is nothing to say."""
    found = [
        *_definitions(invalid),
        *_services(supervisor),
        *_state(store, ledger, layout),
        *_volumes(volumes),
        *_orphans(supervisor, layout),
        *_space(layout),
    ]
    found.sort(key=lambda f: ("error", "warning", "ok").index(f.level))
    return found or [wire.Finding("ok", "svcmgrd", f"{len(supervisor.services)} services, nothing looks wrong")]


def _definitions(invalid: Mapping[str, str]) -> Iterator[wire.Finding]:
    for name, reason in invalid.items():
        yield wire.Finding("error", name, reason, "mend the file, then run: svcmgr reload")


def _services(supervisor: Supervisor) -> Iterator[wire.Finding]:
    for key, service in supervisor.services.items():
        status = service.status
        if status in (Status.FAILED, Status.BACKOFF):
            yield wire.Finding("error", key, f"{status.value}: {service.reason}", f"look at: svcmgr logs {key}")
        elif status in (Status.DEGRADED, Status.FOREIGN, Status.WAITING):
            yield wire.Finding("warning", key, f"{status.value}: {service.reason}".rstrip(": "), f"svcmgr show {key}")
        if service.outdated:
            yield wire.Finding("warning", key, "runs from an older definition", f"apply it: svcmgr restart {key}")


def _state(store: IntentStore, ledger: Ledger, layout: Layout) -> Iterator[wire.Finding]:
    for text in store.troubles:
        yield wire.Finding("warning", "intent", text, "check the goals with: svcmgr status")
    if ledger.trouble:
        yield wire.Finding("error", "ledger", ledger.trouble, "free space; adoption after a crash may be incomplete")
    if layout.quarantine.is_dir() and (names := sorted(p.name for p in layout.quarantine.iterdir())):
        text = f"{layout.quarantine} holds {', '.join(names[:5])}"
        yield wire.Finding("warning", "quarantine", text, "look at the files, then remove them")


def _volumes(volumes: VolumeStore) -> Iterator[wire.Finding]:
    for name, reason in volumes.invalid.items():
        yield wire.Finding("error", name, reason, "mend or remove the file, then start svcmgrd anew")
    for volume in volumes.volumes.values():
        for brick in volume.bricks if volume.started else ():
            if not os.path.isdir(brick):
                text = f"its brick {brick} is not there"
                yield wire.Finding("error", volume.name, text, f"mount it, or: svcmgr volume stop {volume.name}")


def _orphans(supervisor: Supervisor, layout: Layout) -> Iterator[wire.Finding]:
    """Processes that carry our mark and that no service of ours has."""
    if not supervisor.services:
        return
    seams = next(iter(supervisor.services.values())).seams
    for key, identities in seams.os.marked(str(layout.run)).items():
        service = supervisor.services.get(key)
        if service is None or not service.alive:
            pids = ", ".join(str(i.pid) for i in identities)
            yield wire.Finding("warning", key, f"left-over processes: {pids}", "end them if they are not needed")


def _space(layout: Layout) -> Iterator[wire.Finding]:
    seen: set[int] = set()
    for path in (layout.state, layout.run, layout.log):
        device = os.stat(path).st_dev
        if device in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(path)
        if usage.free < usage.total * _LOW_SPACE:
            free = usage.free // (1 << 20)
            yield wire.Finding("warning", str(path), f"only {free} MiB free", "free space before writes fail")
