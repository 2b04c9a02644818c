"""``svcmgr mgmtd config``: the configuration of each type of nodes, in versions."""

from __future__ import annotations

import os

import click

from svcmgr.cli import render
from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import CONFIG_VERSION, NODE_TYPE, asks, changes, lists, type_argument
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_rows import short_moment
from svcmgr.cli.options import F
from svcmgr.errors import EXIT_OK
from svcmgr.services.mgmtd.wire import (
    ConfigInfo,
    ConfigRequest,
    ConfigVersions,
    ConfigVersionsRequest,
    RollbackRequest,
    SetConfigRequest,
)

TABLE = {
    "set": ("mgmtd_config", "set_config"),
    "get": ("mgmtd_config", "get"),
    "versions": ("mgmtd_config", "versions"),
    "diff": ("mgmtd_config", "diff"),
    "rollback": ("mgmtd_config", "rollback"),
}
COLUMNS = (
    render.Column("TYPE"),
    render.Column("VERSION", right=True),
    render.Column("TIME", 1),
    render.Column("AUTHOR", 2),
    render.Column("ORIGIN", 3),
    render.Column("HASH", 5),
    render.Column("DESCRIPTION", 4),
)
#: As much of a hash as people compare.
_HASH = 12


@subgroup("config", TABLE, "svcmgr mgmtd config set storage storage.toml", "svcmgr mgmtd config diff storage 1 2")
def config() -> None:
    """Set, compare and roll back the configuration of nodes."""


def _author_option(function: F) -> F:
    return click.option("--author", callback=_author, metavar="NAME", help="Who did it; you, unless told otherwise.")(
        function
    )


def _author(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    if value is not None:
        return value
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


@changes("set", "svcmgr mgmtd config set storage storage.toml --desc 'more threads'")
@type_argument
@click.argument("path", metavar="FILE")
@click.option("--desc", default="", metavar="TEXT", help="What it is for, for people.")
@_author_option
@click.option("--force", is_flag=True, help="Make a version also when it is the same as the newest.")
def set_config(cluster: Cluster, kind: str, path: str, desc: str, author: str, force: bool) -> int:
    """Give nodes of a type a new configuration.

    FILE is TOML, or - for standard input. It is checked as a whole; nodes get it with their next heartbeat.
    """
    from svcmgr.cli.mgmtd_input import TOML_MAX, read_text

    request = SetConfigRequest(kind, read_text(path, TOML_MAX), desc, author, force, dry_run=cluster.dry_run)
    found = cluster.ask("set-config", request, ConfigInfo)
    return cluster.changed(_words(found), config=found)


def _words(found: ConfigInfo) -> str:
    origin = f", {found.origin}" if found.origin else ""
    return f"{found.type}: version {found.version} (hash {found.hash[:_HASH] or '-'}{origin})"


@asks("get", "svcmgr mgmtd config get storage > storage.toml", "svcmgr mgmtd config get storage 2 --json")
@type_argument
@click.argument("number", default=None, required=False, type=CONFIG_VERSION, metavar="[VERSION]")
def get(cluster: Cluster, kind: str, number: int | None) -> int:
    """Print a configuration: the newest, or any version."""
    found = config_of(cluster, kind, number)
    if cluster.as_json:
        return cluster.finish([], config=found)
    render.write(found.content if found.content.endswith("\n") or not found.content else found.content + "\n")
    return EXIT_OK


def config_of(cluster: Cluster, kind: str, number: int | None) -> ConfigInfo:
    """Version ``number`` of the configuration of nodes of type ``kind``, or the newest.

    Raises:
        InvalidConfigVersion: there is no version of that number.
    """
    request = ConfigRequest(kind, number or 0, exact=number is not None)
    found: ConfigInfo | None = cluster.ask("config", request, ConfigInfo | None)  # type: ignore[arg-type]
    # There is nothing newer than version 0, the empty one that every type begins with.
    return found or ConfigInfo(kind, 0)


@lists("versions", "svcmgr mgmtd config versions", "svcmgr mgmtd config versions storage --json")
@click.argument("kind", default=None, required=False, type=NODE_TYPE, metavar="[TYPE]")
def versions(cluster: Cluster, kind: str | None) -> int:
    """List the newest version of each type, or all versions of one."""
    found = cluster.ask("config-versions", ConfigVersionsRequest(kind or ""), ConfigVersions).versions
    rows = [
        [one.type, str(one.version), short_moment(one.time), one.author, one.origin, one.hash[:_HASH], one.desc]
        for one in found
    ]
    return cluster.listed(COLUMNS, rows, [] if rows else ["no versions"], versions=found)


@asks("diff", "svcmgr mgmtd config diff storage", "svcmgr mgmtd config diff storage 1 3 --json")
@type_argument
@click.argument("old", default=None, required=False, type=CONFIG_VERSION, metavar="[OLD")
@click.argument("new", default=None, required=False, type=CONFIG_VERSION, metavar="[NEW]]")
def diff(cluster: Cluster, kind: str, old: int | None, new: int | None) -> int:
    """Show what differs between two versions.

    From OLD to NEW; NEW is the newest unless given, OLD the one before it. Differences are no failure.
    """
    after = config_of(cluster, kind, new)
    before = config_of(cluster, kind, max(0, after.version - 1) if old is None else old)
    lines = _unified(before, after)
    words = lines or [f"no differences between versions {before.version} and {after.version} of {kind}"]
    return cluster.finish(words, type=kind, old=before.version, new=after.version, diff=lines)


def _unified(before: ConfigInfo, after: ConfigInfo) -> list[str]:
    import difflib

    texts = (before.content.splitlines(), after.content.splitlines())
    old, new = (f"{one.type} version {one.version}" for one in (before, after))
    return list(difflib.unified_diff(*texts, old, new, lineterm=""))


@changes("rollback", "svcmgr mgmtd config rollback storage 1")
@type_argument
@click.argument("number", type=CONFIG_VERSION, metavar="VERSION")
@_author_option
def rollback(cluster: Cluster, kind: str, number: int, author: str) -> int:
    """Make an old version the newest again, under a new number."""
    request = RollbackRequest(kind, number, author, dry_run=cluster.dry_run)
    found = cluster.ask("rollback-config", request, ConfigInfo)
    return cluster.changed(_words(found), config=found)
