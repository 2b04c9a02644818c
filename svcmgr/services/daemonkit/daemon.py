"""What the author of a daemon writes: answers. What he is given: a context."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import attrs

from svcmgr.background import Worker
from svcmgr.clock import Clock
from svcmgr.conn import Access, Peer, Verb
from svcmgr.services.daemonkit.configuration import Volfile


@attrs.frozen
class Context:
    """What the kit gives to one daemon.

    ``flags`` is the parsed command line, the daemon's own flags included. ``publish(topic, payload)`` sends an event
    to the sessions that subscribed. ``stop(reason)`` begins the orderly end. ``notify(status=...)`` is sd_notify(3)
    with the fields of :class:`svcmgr.sdnotify.Notification`; it never fails.
    """

    name: str
    flags: argparse.Namespace
    environ: Mapping[str, str]
    clock: Clock
    log: logging.Logger
    publish: Callable[[str, Any], None]
    stop: Callable[[str], None]
    notify: Callable[..., object]


class Daemon:
    """Base of all daemons. Every hook has a default, so a subclass says only what is special about it.

    The order of a life: ``__init__``, ``configure`` (first time, before anything is open), ``resources`` entered,
    ``verbs`` and ``workers`` asked once, socket bound, READY; in the end the socket closes, workers are cancelled and
    ``resources`` is left. What ``configure`` or entering ``resources`` raises ends the start with exit code 1 and one
    line in the log.
    """

    #: The daemon's name in logs, in ``ps`` and on the wire.
    name: ClassVar[str]
    #: Permission bits of the socket file. Who may connect is not who may do: ``access`` decides by peer credentials.
    socket_mode: ClassVar[int] = 0o600

    def __init__(self, context: Context) -> None:
        """Take the context; open nothing. A BadInput for a flag of one's own ends the process with exit code 2."""
        self.context = context

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add flags of this daemon to the standard ones."""

    async def configure(self, volfile: Volfile | None) -> None:
        """Take over a configuration, whole or not at all; raising leaves the one in force.

        Called before ``resources`` the first time, and later, one call at a time, whenever the volfile changed.
        ``volfile`` is None for a daemon started without ``--volfile-id``; SIGHUP then means "read your files again".
        """

    def resources(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """What must be open while the daemon serves. It may hold a TaskGroup of its own."""
        return contextlib.nullcontext()

    def verbs(self) -> Mapping[str, Verb]:
        """The table of verbs: wire name -> Verb."""
        return {}

    def workers(self) -> Iterable[Worker]:
        """The table of background workers."""
        return ()

    def statistics(self) -> Mapping[str, Any]:
        """Facts of this daemon: section ``own`` of the ``statistics`` verb and the SIGUSR1 dump."""
        return {}

    def access(self, peer: Peer) -> Access | None:
        """What ``peer`` may do; None refuses it. Root and our own user administrate, all others are refused."""
        return Access.ADMIN if peer.uid in (0, os.getuid()) else None
