"""The garbage collector while a cluster is loaded.

Loading makes a million objects that all stay, and the collector looks at them again and again: more than half of the
time of a large boot (benchmarks/mgmtd.py). So it pauses, and leaves alone afterwards what came to be meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No collection within; what is there at the end is never looked at again (gc.freeze). For a whole process."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
