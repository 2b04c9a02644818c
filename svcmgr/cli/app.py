"""What every command gets: the layout it works on and a way to the svcmgrd of that layout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from svcmgr import paths

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient

#: How long svcmgrd may take for an answer that it gives from memory, seconds.
QUICK_S = 10.0
#: svcmgrd ends an action at the deadline it was given; its answer must still travel, seconds.
ANSWER_MARGIN_S = 5.0


class App:
    """One run of the program: which svcmgrd it is about."""

    def __init__(self, layout: paths.Layout, environ: Mapping[str, str], uid: int) -> None:
        self.layout = layout
        self.environ = environ
        self._uid = uid

    @property
    def control_address(self) -> str:
        """The path to connect to svcmgrd at."""
        return self._address(self.layout.control_socket)

    def connect(self, timeout: float = QUICK_S) -> BlockingClient:
        """A client of svcmgrd, to be used in a ``with``.

        Args:
            timeout: seconds for connecting, and for each call that names no other.
        """
        from svcmgr.conn.blocking import BlockingClient

        return BlockingClient(self.control_address, timeout=timeout)

    def connect_service(self, key: str, timeout: float = QUICK_S) -> BlockingClient:
        """A client of the daemon of service ``key``, as :meth:`connect`.

        That nobody listens is the error NoSvcmgrd here as well; whoever asks knows better what to say then.

        Raises:
            BadInput: ``key`` cannot name a service.
        """
        from svcmgr.conn.blocking import BlockingClient

        paths.check_key(key)
        return BlockingClient(self._address(self.layout.service_socket(key)), timeout=timeout)

    def _address(self, readable: Path) -> str:
        """Where to connect to for the socket of this readable name.

        A path too long for a socket address is a link to the socket. The link is asked first, because the
        short directory of whoever runs the daemon need not be ours.
        """
        path = paths.socket_path(readable, paths.short_socket_dir(self.environ, self._uid))
        if path == readable:
            return str(path)
        try:
            return str(readable.parent / os.readlink(readable))
        except OSError:
            return str(path)
