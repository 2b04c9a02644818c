"""The daemon side of a service: everything a supervised program must do that is not its own work.

A daemon is a subclass of :class:`Daemon` with a table of verbs, a table of background workers and an async context
manager of resources; :func:`run` does the rest. See docs/daemons.md and examples/clockd.py.
"""

from svcmgr.background import Worker
from svcmgr.conn import Access, CallContext, Verb
from svcmgr.services.daemonkit.configuration import Volfile
from svcmgr.services.daemonkit.daemon import Context, Daemon
from svcmgr.services.daemonkit.runner import run

__all__ = ["Access", "CallContext", "Context", "Daemon", "Verb", "Volfile", "Worker", "run"]
