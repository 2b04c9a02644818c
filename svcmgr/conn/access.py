"""What a peer may do, in three steps."""

from __future__ import annotations

import enum


class Access(enum.IntEnum):
    """Each includes those before it.

    READ looks; NODE is what a member of a cluster needs to report about itself; ADMIN changes things.
    """

    READ = 1
    NODE = 2
    ADMIN = 3
