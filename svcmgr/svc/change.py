"""What a new volfile means for the daemon that runs with the old one."""

from __future__ import annotations

import enum

import attrs


class Verdict(enum.Enum):
    """The three steps of a reconfiguration (glusterfs: xlators/mgmt/glusterd/src/glusterd-svc-mgmt.c)."""

    #: the same configuration: nothing is done
    NONE = "none"
    #: other options, the same graph: the daemon is told, fetches and applies it as it runs
    TELL = "tell"
    #: another graph: only a new process can take it
    RESTART = "restart"


@attrs.frozen
class Change:
    """``text`` says for people what differs; "" where nothing does."""

    verdict: Verdict
    text: str = ""
