"""``svcmgr mgmtd export``: the whole cluster as a file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from svcmgr.cli.mgmtd_args import asks
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.render import plural
from svcmgr.cli.snapshot_args import long_timeout_option
from svcmgr.services.mgmtd.wire import ExportReply, ExportRequest


@asks("export", "svcmgr mgmtd export cluster.jsonl", "svcmgr mgmtd export /backup/cluster-today.jsonl --json")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@long_timeout_option
def export(cluster: Cluster, path: Path, timeout: float) -> int:
    """Write all that mgmtd stores into a new file: nodes, chains, tables, configurations, events.

    mgmtd writes it, of one moment, and goes on meanwhile; it is readable for mgmtd's user only. To bring it back:
    `python3 -m svcmgr.services.mgmtd.importing --help`.
    """
    request = ExportRequest(os.path.abspath(path))
    reply = cluster.ask("export", request, ExportReply, timeout=timeout)
    line = f"{plural(reply.records, 'record')} exported to {reply.path}, {reply.bytes} bytes"
    return cluster.finish([line], path=reply.path, records=reply.records, bytes=reply.bytes)
