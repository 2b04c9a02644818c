"""``svcmgr mgmtd doctor``: what looks wrong in the cluster, and what to do about it."""

from __future__ import annotations

from svcmgr.cli.mgmtd_args import asks
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_findings import Finding, of_chains, of_lease, of_nodes, of_targets, worst_first
from svcmgr.cli.mgmtd_nodes import newest_configs
from svcmgr.errors import EXIT_FAILED, EXIT_OK
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.wire import (
    ChainsReply,
    ChainsRequest,
    ClusterRequest,
    LeaseInfo,
    NodesReply,
    NodesRequest,
    TargetsReply,
    TargetsRequest,
)


@asks("doctor", "svcmgr mgmtd doctor", "svcmgr mgmtd doctor --json")
def doctor(cluster: Cluster) -> int:
    """Look for what is wrong in the cluster: nodes, chains, lease.

    Exit code 1 when there is an error among the findings.
    """
    try:
        findings = worst_first(_examine(cluster))
    except NotPrimary as error:
        advice = "`svcmgr mgmtd lease primary` says who is; ask there, or again in a few seconds"
        findings = [Finding("error", "mgmtd", error.message, advice)]
    cluster.finish(list(_lines(findings)), findings=findings)
    return EXIT_FAILED if any(finding.level == "error" for finding in findings) else EXIT_OK


def _examine(cluster: Cluster) -> list[Finding]:
    return [
        *of_lease(cluster.ask("lease", ClusterRequest(), LeaseInfo)),
        *of_nodes(cluster.ask("nodes", NodesRequest(), NodesReply).nodes, newest_configs(cluster)),
        *of_chains(cluster.ask("chains", ChainsRequest(), ChainsReply).chains),
        *of_targets(
            cluster.ask("targets", TargetsRequest(), TargetsReply).targets,
            cluster.ask("orphans", ClusterRequest(), TargetsReply).targets,
        ),
    ]


def _lines(findings: list[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<7}  {finding.subject}: {finding.text}")
        lines.append(f"{'':9}-> {finding.advice}")
    return lines or ["nothing looks wrong"]
