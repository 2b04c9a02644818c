"""Volumes as JSON objects, as lines of a table and as blocks, all from one set of facts."""

from __future__ import annotations

from typing import Any

from svcmgr.cli.render import Column, clean, facts
from svcmgr.clock import rfc3339
from svcmgr.host.wire_volumes import VolumeInfo

COLUMNS = (
    Column("NAME"),
    Column("STATUS"),
    Column("BRICKS", right=True),
    Column("OPTIONS", right=True),
    Column("VERSION", right=True),
    Column("SERVICES"),
)


def as_object(volume: VolumeInfo) -> dict[str, Any]:
    """One volume as docs/cli.md describes it, all keys present."""
    return {
        "name": volume.name,
        "id": volume.id,
        "status": volume.status,
        "bricks": volume.bricks,
        "options": volume.options,
        "version": volume.version,
        "created": rfc3339(volume.created),
        "modified": rfc3339(volume.modified),
        "services": [
            {"name": one.name, "status": one.status, "wanted": one.wanted, "reason": one.reason}
            for one in volume.services
        ],
    }


def cells(volume: dict[str, Any]) -> list[str]:
    """One line of the table, in the order of COLUMNS."""
    return [
        volume["name"],
        volume["status"],
        str(len(volume["bricks"])),
        str(len(volume["options"])),
        str(volume["version"]),
        ", ".join(f"{one['name']} {one['status']}" for one in volume["services"]),
    ]


def block(volume: dict[str, Any]) -> list[str]:
    """Every fact of one volume, one per line."""
    shown = {key: value for key, value in volume.items() if key not in ("name", "bricks", "options", "services")}
    shown["bricks"] = {str(number): brick for number, brick in enumerate(volume["bricks"], 1)}
    shown["options"] = volume["options"] or ""
    shown["services"] = {one["name"]: _service(one) for one in volume["services"]} or ""
    return [clean(volume["name"]), *facts(shown, "  ")]


def _service(service: dict[str, Any]) -> str:
    wanted = "wanted" if service["wanted"] else "not wanted"
    return f"{service['status']}, {wanted}" + (f": {service['reason']}" if service["reason"] else "")
