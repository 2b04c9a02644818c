"""When nodes and targets were heard last, and what their heartbeats count.

Theory of operation. Every heartbeat moves these, a thousand times a second, so they are plain numbers in dictionaries,
apart from the values that are told and stored. They are of this primary alone: after an election nothing was heard, and
silence counts from then. Times are monotonic seconds, except ``utc``, which is shown to people.
"""

from __future__ import annotations

from collections.abc import Iterable

from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.wire import AppInfo


class Contacts:
    """Since when there is silence."""

    def __init__(self, began: Moment) -> None:
        self._began = began.monotonic
        self._nodes: dict[int, float] = {}
        self._targets: dict[int, float] = {}
        #: When a node was heard, UTC seconds.
        self.utc: dict[int, float] = {}
        #: Version of the last heartbeat, and the process that sent it.
        self.beats: dict[int, int] = {}
        self.incarnations: dict[int, str] = {}
        #: What it said of itself last, as it said it: most heartbeats say the same.
        self.said: dict[int, AppInfo] = {}

    def hear_node(self, app: AppInfo, beat: int, now: Moment) -> None:
        """A heartbeat was accepted."""
        node_id = app.node
        self._nodes[node_id] = now.monotonic
        self.utc[node_id] = now.utc
        self.beats[node_id] = beat
        self.incarnations[node_id] = app.incarnation
        self.said[node_id] = app

    def touch_node(self, node_id: int, now: Moment) -> None:
        """Count its silence from now, though it said nothing."""
        self._nodes[node_id] = now.monotonic

    def hear_targets(self, target_ids: Iterable[int], now: Moment) -> None:
        """Their node told of them."""
        at = now.monotonic
        for target_id in target_ids:
            self._targets[target_id] = at

    def node_silence(self, node_id: int, now: Moment) -> float:
        """Seconds."""
        return now.monotonic - self._nodes.get(node_id, self._began)

    def target_silence(self, target_id: int, now: Moment) -> float:
        """Seconds."""
        return now.monotonic - self._targets.get(target_id, self._began)

    def heard_target(self, target_id: int) -> bool:
        """Whether any node told of it, to this primary."""
        return target_id in self._targets

    def forget_process(self, node_id: int) -> None:
        """Another process may speak for this node now."""
        self.beats.pop(node_id, None)
        self.incarnations.pop(node_id, None)
        self.said.pop(node_id, None)

    def forget_node(self, node_id: int) -> None:
        self.forget_process(node_id)
        self._nodes.pop(node_id, None)
        self.utc.pop(node_id, None)

    def forget_target(self, target_id: int) -> None:
        self._targets.pop(target_id, None)
