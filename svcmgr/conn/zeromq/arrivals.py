"""Which tcp connection is which link: the server's book of what was accepted.

Theory of operation. ZeroMQ tells of connections in three places that know little of each other. Its monitor says that
a descriptor was accepted, and later that it was disconnected, in this order and for each of them. Its
authentication asks about a key, without saying for which descriptor. Its messages carry the descriptor they came from,
but a descriptor's number is used again at once by the next connection.

So each accepted connection gets an *order* number here. Authentication writes the newest order of that moment
(:attr:`Arrivals.newest`) into what all messages of that connection will carry. A connection was accepted before it was
authenticated; hence a message that carries order N and descriptor F is from the present holder of F if that one's
order is not over N, and from a dead connection otherwise. That is all the proof :meth:`claim` needs.

A connection that is accepted and does not open a link in time is to be cut, and one more when there are too many:
ZeroMQ itself accepts without limit. Which one? Silent ones must not keep others out, so the oldest goes if it
has had more than its share of the time, a quarter. If none has, this is a herd, all clients coming back at once: then
the newcomer goes, since cutting those whose handshakes are under way would let none of them finish. What must be cut
is given out once.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import attrs

#: The part of its patience that a listener gives everybody, however many there are.
SHARE = 0.25


@attrs.define(eq=False)
class Arrival:
    """One accepted connection: its descriptor, its peer's address, when it is to be cut (monotonic seconds), and the
    link that it became, with the id under which ZeroMQ sends to it and the key that it proved.
    """

    fd: int
    order: int
    place: tuple[str, int] | None
    cut_by: float
    link: Any = None
    routing_id: bytes = b""
    key: bytes = b""


class Arrivals:
    """The book. ``patience`` in seconds; ``most`` connections may be without link at a time."""

    def __init__(self, patience: float, most: int) -> None:
        self.newest = 0
        self._patience = patience
        self._most = most
        self._present: dict[int, Arrival] = {}
        self._due: dict[Arrival, None] = {}  # without link, in the order of their deadlines

    def __len__(self) -> int:
        return len(self._present)

    @property
    def waiting(self) -> int:
        """Connections without link."""
        return len(self._due)

    @property
    def next_deadline(self) -> float:
        """When to ask for :meth:`overdue` at the latest; ``math.inf`` for never."""
        return next(iter(self._due)).cut_by if self._due else math.inf

    def accepted(self, fd: int, place: tuple[str, int] | None, now: float) -> Arrival | None:
        """A connection came. Gives the one that is to be cut because there are too many, if any."""
        self.gone(fd)
        self.newest += 1
        arrival = Arrival(fd, self.newest, place, now + self._patience)
        self._present[fd] = arrival
        self._due[arrival] = None
        if len(self._due) <= self._most:
            return None
        oldest = next(iter(self._due))
        is_slow = oldest.cut_by - now < self._patience * (1 - SHARE)
        crowded_out = oldest if is_slow else arrival
        del self._due[crowded_out]
        return crowded_out

    def claim(self, fd: int, order: int) -> Arrival | None:
        """The connection that the first message of a link came from; None: it is gone, or was to be cut."""
        arrival = self._present.get(fd)
        if arrival is None or arrival.order > order or arrival not in self._due:
            return None
        del self._due[arrival]
        return arrival

    def all_waiting(self) -> list[Arrival]:
        """All connections without link, for them to be cut."""
        waiting = list(self._due)
        self._due.clear()
        return waiting

    def gone(self, fd: int) -> Arrival | None:
        """The connection of that descriptor has ended."""
        arrival = self._present.pop(fd, None)
        if arrival is not None:
            self._due.pop(arrival, None)
        return arrival

    def overdue(self, now: float) -> list[Arrival]:
        """Those to cut now."""
        late = list(itertools.takewhile(lambda arrival: arrival.cut_by <= now, self._due))
        for arrival in late:
            del self._due[arrival]
        return late
