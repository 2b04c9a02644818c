"""``svcmgr mgmtd lease`` and ``svcmgr mgmtd fsck``: who is primary, and whether what is stored is sound."""

from __future__ import annotations

import click

from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import asks
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_objects import moment
from svcmgr.cli.render import plural
from svcmgr.cli.snapshot_args import confirmed, long_timeout_option, yes_option
from svcmgr.errors import EXIT_FAILED, EXIT_OK
from svcmgr.services.mgmtd.wire import (
    ClusterRequest,
    FsckFinding,
    FsckReply,
    LeaseInfo,
    PrimaryInfo,
    PrimaryRequest,
    ReleaseLeaseRequest,
)

TABLE = {
    "show": ("mgmtd_lease", "show"),
    "primary": ("mgmtd_lease", "primary"),
    "release": ("mgmtd_lease", "release"),
}


@subgroup("lease", TABLE, "svcmgr mgmtd lease show", "svcmgr mgmtd lease release")
def lease() -> None:
    """Show or give up the lease, which makes a mgmtd primary."""


@asks("show", "svcmgr mgmtd lease show", "svcmgr mgmtd lease show --json")
def show(cluster: Cluster) -> int:
    """Show the lease: its owner, its epoch, and how long it lasts."""
    found = cluster.ask("lease", ClusterRequest(), LeaseInfo)
    return cluster.finish(_lines(found), lease=found)


def _lines(found: LeaseInfo) -> list[str]:
    if not found.owner:
        return [f"nobody holds the lease; the last epoch was {found.epoch}"]
    host = f" on {found.hostname}" if found.hostname else ""
    state = "trusted" if found.trusted else "not trusted: its owner may not answer as primary"
    if found.loading:
        state = "not in use yet: its owner is loading the cluster's state"
    return [
        f"node {found.owner}{host} holds the lease, epoch {found.epoch}",
        f"  since: {moment(found.start) or '-'}",
        f"  remaining: {found.remaining_s:.1f}s",
        f"  state: {state}",
        f"  release: {found.release or '-'}",
    ]


@asks("primary", "svcmgr mgmtd lease primary")
def primary(cluster: Cluster) -> int:
    """Say which node is primary, and where it listens.

    Every mgmtd answers it, also one that is not primary.
    """
    found = cluster.ask("primary", PrimaryRequest(), PrimaryInfo)
    if found.node:
        lines = [f"node {found.node}", *(f"  {address}" for address in found.addresses)]
    else:
        lines = [f"nobody is primary; the last one was node {found.last}" if found.last else "nobody is primary"]
    return cluster.finish(lines, primary=found)


@asks("release", "svcmgr mgmtd lease release", "svcmgr mgmtd lease release --force --yes")
@click.option("--force", is_flag=True, help="Also when another mgmtd holds the lease.")
@yes_option
def release(cluster: Cluster, force: bool, yes: bool) -> int:
    """Let another mgmtd become primary.

    The one that is asked steps down. With --force the lease is taken from whoever holds it, who may believe
    in it until it asks the store; it asks first, unless --yes is given.
    """
    lines = ["This takes the lease from whoever holds it, also from a mgmtd that works."]
    if force and not confirmed(yes, lines, "cannot take the lease by force without a word: add --yes"):
        return EXIT_FAILED
    found = cluster.ask("release-lease", ReleaseLeaseRequest(force), LeaseInfo)
    return cluster.finish(["released", *_lines(found)], lease=found)


@asks("fsck", "svcmgr mgmtd fsck", "svcmgr mgmtd fsck --json")
@long_timeout_option
def fsck(cluster: Cluster, timeout: float) -> int:
    """Check every record of the store, and set bad ones aside.

    What is set aside is kept, with the reason. Exit code 1 when something is wrong.
    """
    reply = cluster.ask("fsck", ClusterRequest(), FsckReply, timeout=timeout)
    lines = list(map(_finding, reply.findings))
    lines.append(f"{plural(reply.checked, 'record')} checked, {len(reply.findings)} bad")
    cluster.finish(lines, checked=reply.checked, findings=reply.findings)
    return EXIT_FAILED if reply.findings else EXIT_OK


def _finding(one: FsckFinding) -> str:
    where = f"{one.key}: " if one.key else ""  # what is odd about the whole store has no key
    return f"{where}{one.problem}{' (set aside)' if one.quarantined else ''}"
