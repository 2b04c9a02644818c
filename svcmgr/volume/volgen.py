"""The graphs of our own daemons, made from a volume.

Theory of operation. A graph is a function of the volume and of where svcmgrd keeps things, nothing else, and its
nodes and options come in a fixed order, so that equal volumes give equal texts. Every option is written out, with its
default too: a daemon then needs no table of defaults, and a new default reaches it as a change like any other. What a
daemon can take over as it runs is an option; what it cannot is a node. docs/volfile.md describes the types.
"""

from __future__ import annotations

from svcmgr.volume import options
from svcmgr.volume.checks import check_directory
from svcmgr.volume.info import Volume
from svcmgr.volume.volgraph import Graph, Node

POSIX, SNAPSHOTS, FUSE = "storage/posix", "features/snapshots", "mount/fuse"

#: Options of the snapshots block that are options of the volume.
_OF_VOLUME = (
    ("method", options.METHOD),
    ("min-free", options.MIN_FREE),
    ("max-count", options.MAX_COUNT),
    ("activate-on-create", options.ACTIVATE),
    ("log-level", options.LOG_LEVEL),
)


def snapd_volfile_id(volume_name: str) -> str:
    """Under which id svcmgrd serves the volfile of this volume's snapd; as in glusterd (glusterd-snapd-svc.c)."""
    return f"snapd/{volume_name}"


def snapd_graph(volume: Volume, store: str, mount: str) -> Graph:
    """The graph of a volume's snapd.

    Args:
        store: where it keeps its catalogue, an absolute directory.
        mount: where the view is mounted unless the volume says otherwise, an absolute directory.

    Raises:
        BadInput: ``store`` or ``mount`` is no absolute directory in normal form.
    """
    name = volume.name
    bricks = tuple(f"{name}-brick-{number}" for number in range(1, len(volume.bricks) + 1))
    nodes = [Node(brick, POSIX, (("directory", path),)) for brick, path in zip(bricks, volume.bricks, strict=True)]
    nodes.append(Node(f"{name}-snapshots", SNAPSHOTS, _snapshots(volume, check_directory(store, "store")), bricks))
    if volume.value(options.VIEW):
        point = _text(volume, options.MOUNT) or check_directory(mount, "mount point")
        view = (("mount-point", point), ("hide-dot", _text(volume, options.HIDE_DOT)))
        nodes.append(Node(f"{name}-view", FUSE, view, (f"{name}-snapshots",)))
    return Graph(tuple(nodes))


def _snapshots(volume: Volume, store: str) -> tuple[tuple[str, str], ...]:
    settings = tuple((key, _text(volume, option)) for key, option in _OF_VOLUME)
    return (("volume", volume.name), ("volume-id", volume.id), ("store", store), *settings)


def _text(volume: Volume, option: str) -> str:
    return volume.options.get(option, options.find(option).default)
