"""Text that a command about a cluster is given in a file, or on standard input as ``-``."""

from __future__ import annotations

import sys
from pathlib import Path

from svcmgr.errors import BadInput
from svcmgr.fsutil import read_limited

#: One request must hold it, and a frame is 16 MiB (conn.frame.MAX_FRAME): 53,333 chains of three targets are 3 MiB.
CSV_MAX = 8 << 20
#: A configuration is some pages of TOML, bytes.
TOML_MAX = 1 << 20

STDIN = "-"


def read_text(path: str, limit: int) -> str:
    """The UTF-8 text of at most ``limit`` bytes in the file at ``path``, without a byte order mark. Raises BadInput."""
    name = name_of(path)
    try:
        data = _read_stdin(limit) if path == STDIN else read_limited(Path(path), limit)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"cannot read {name}: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"cannot read {name}: byte {error.start} is not UTF-8", path=path) from error
    except ValueError as error:  # a NUL byte in the path
        raise BadInput(f"cannot read {path!r}: {error}") from error


def name_of(path: str) -> str:
    """What a message calls the file."""
    return "standard input" if path == STDIN else path


def _read_stdin(limit: int) -> bytes:
    if sys.stdin is None:
        raise BadInput("cannot read standard input: it is closed")
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise BadInput(f"cannot read standard input: larger than {limit} bytes", limit=limit)
    return data
