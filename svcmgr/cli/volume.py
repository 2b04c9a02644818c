"""``svcmgr volume``: the group; its commands are loaded one by one."""

from __future__ import annotations

from svcmgr.cli.group import subgroup

TABLE = {
    "create": ("volume_life", "create"),
    "start": ("volume_life", "start"),
    "stop": ("volume_life", "stop"),
    "delete": ("volume_life", "delete"),
    "set": ("volume_options", "set_options"),
    "reset": ("volume_options", "reset"),
    "get": ("volume_options", "get"),
    "info": ("volume_info", "info"),
    "list": ("volume_info", "list_volumes"),
    "options": ("volume_options", "options"),
    "volfiles": ("volume_volfiles", "volfiles"),
    "volfile": ("volume_volfiles", "volfile"),
}


@subgroup(
    "volume",
    TABLE,
    "svcmgr volume create v0 /srv/bricks/v0",
    "svcmgr volume start v0",
    "svcmgr volume set v0 features.uss on",
    "svcmgr volume info v0",
)
def volume() -> None:
    """Make, start, stop and configure the volumes of this host."""
