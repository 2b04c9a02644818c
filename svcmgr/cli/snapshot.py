"""``svcmgr snapshot``: the group; its commands are loaded one by one."""

from __future__ import annotations

from svcmgr.cli.group import subgroup

TABLE = {
    "create": ("snapshot_change", "create"),
    "list": ("snapshot_list", "list_snapshots"),
    "info": ("snapshot_list", "info"),
    "activate": ("snapshot_change", "activate"),
    "deactivate": ("snapshot_change", "deactivate"),
    "delete": ("snapshot_change", "delete"),
    "restore": ("snapshot_restore", "restore"),
    "diff": ("snapshot_diff", "diff"),
    "schedule": ("snapshot_schedules", "schedule"),
    "unschedule": ("snapshot_schedules", "unschedule"),
    "schedules": ("snapshot_schedules", "schedules"),
    "ls": ("snapshot_files", "ls"),
    "cat": ("snapshot_files", "cat"),
}


@subgroup(
    "snapshot",
    TABLE,
    "svcmgr snapshot create v0 before-upgrade",
    "svcmgr snapshot list v0",
    "svcmgr snapshot restore v0 before-upgrade etc/app.conf --to /tmp/app.conf",
    "svcmgr snapshot schedule v0 hourly --every 1h --keep hourly=24,daily=7,weekly=4",
)
def snapshot() -> None:
    """Take, look into, restore and schedule snapshots of volumes."""
