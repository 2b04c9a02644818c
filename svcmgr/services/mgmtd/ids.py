"""Which numbers may be an id or a version.

Theory of operation. Ids and versions are plain integers, because they are keys of large dictionaries. What makes one
valid is its range, and the range is checked where the number enters a value object. Zero is no id: it means "none" on
the wire, so it must not name anything. Widths are those of deepseek-ai/3FS: src/fbs/mgmtd/MgmtdTypes.h.
"""

from __future__ import annotations

import attrs

from svcmgr.errors import BadInput

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1


@attrs.frozen
class Range:
    """Whole numbers from ``first`` to ``last``, and what they are called in a message."""

    what: str
    first: int
    last: int

    def check(self, value: int) -> int:
        """``value`` itself if it is in the range. Raises BadInput."""
        if type(value) is not int or not self.first <= value <= self.last:
            raise BadInput(
                f"cannot use {str(value)[:40]} as {self.what}: give a whole number from {self.first} to {self.last}"
            )
        return value

    def validate(self, _: object, __: object, value: int) -> None:
        """:meth:`check` as an attrs validator."""
        self.check(value)


NODE_ID = Range("node id", 1, U32_MAX)
TARGET_ID = Range("target id", 1, U64_MAX)
CHAIN_ID = Range("chain id", 1, U32_MAX)
TABLE_ID = Range("chain table id", 1, U32_MAX)

CHAIN_VERSION = Range("chain version", 1, U32_MAX)
TABLE_VERSION = Range("chain table version", 1, U32_MAX)
#: What a node says it last saw of a chain; 0: it does not know.
SEEN_CHAIN_VERSION = Range("chain version in a report", 0, U32_MAX)
#: 0 is the built-in empty configuration.
CONFIG_VERSION = Range("config version", 0, U64_MAX)
#: A server remembers 0 before the first heartbeat, so a client counts from 1.
HEARTBEAT_VERSION = Range("heartbeat version", 1, U64_MAX)
EPOCH = Range("lease epoch", 1, U64_MAX)

DISK_INDEX = Range("disk index", 0, U32_MAX)
BYTES = Range("number of bytes", 0, U64_MAX)
PID = Range("process id", 0, U32_MAX)
