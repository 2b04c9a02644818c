"""One activated snapshot as the view and the reader see it."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen
class Exposed:
    """``name`` is unique in the volume, ``id`` for ever; ``created`` is UTC seconds.

    ``roots`` are the directories that hold its content, one for each brick, in the volume's order. With one brick the
    content of that directory is the content of the snapshot; with several there is one directory ``brick-N`` each,
    N from 1. ``svcmgr.volume.snapshot.RESERVED_DIR`` at the top of a root is not shown.
    """

    name: str
    id: str
    created: float
    roots: tuple[Path, ...]
