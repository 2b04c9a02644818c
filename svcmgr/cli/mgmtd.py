"""``svcmgr mgmtd``: the group; its commands are loaded one by one."""

from __future__ import annotations

from svcmgr.cli.group import subgroup

TABLE = {
    "nodes": ("mgmtd_nodes", "nodes"),
    "chains": ("mgmtd_chains", "chains"),
    "tables": ("mgmtd_tables", "tables"),
    "targets": ("mgmtd_targets", "targets"),
    "config": ("mgmtd_config", "config"),
    "sessions": ("mgmtd_sessions", "sessions"),
    "host-tags": ("mgmtd_sessions", "host_tags"),
    "routing": ("mgmtd_routing", "routing"),
    "lease": ("mgmtd_lease", "lease"),
    "events": ("mgmtd_events", "events"),
    "wait": ("mgmtd_wait", "wait"),
    "doctor": ("mgmtd_doctor", "doctor"),
    "fsck": ("mgmtd_lease", "fsck"),
    "export": ("mgmtd_export", "export"),
}


@subgroup(
    "mgmtd",
    TABLE,
    "svcmgr add mgmtd --kind mgmtd --start",
    "svcmgr mgmtd nodes register 10001 storage",
    "svcmgr mgmtd chains upload chains.csv",
    "svcmgr mgmtd wait all-serving --timeout 120",
)
def mgmtd() -> None:
    """Manage the nodes, chains and configuration of a cluster."""
