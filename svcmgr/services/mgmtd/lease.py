"""Who is primary: one lease in the store, several candidates, and no clock that two of them share.

Theory of operation. The owner rewrites the lease each tick. It counts the lease's length from *before* it asked the
store to write. Anyone else counts it from *after* he first read that very record, and takes the lease over when it
stayed unchanged for longer than its length. Writing comes before reading, so the owner's count always ends first, and
what wall clocks say plays no part: they may be wrong, or jump. Clocks need only run at about the same rate; the owner
stops serving ``suspicious_s`` before its count ends, which is more than any crystal is off. All writes compare and
set, so of several who take over one wins.

Each owner has an *epoch*, higher than all before. Whoever keeps the highest epoch he saw can tell an answer of a
deposed primary, and the store refuses a write whose epoch is not that of the lease (:meth:`Leadership.check_write`).

A failed write leaves a doubt: it may have been carried out, or may still be. Each attempt has a serial number of its
own, so the record that is found later tells which one it was, and our time is counted from when that one was begun. An
owner that steps down marks the lease as released, and anyone may take it at once.

An older release may not take over from a newer one, not even an expired lease, since it might not understand what the
newer one stored. An operator who rolled a cluster back releases the lease for any release (:class:`ForceRelease`).

Rules: deepseek-ai/3FS: src/mgmtd/store/MgmtdStore.cc; counting by local clocks, epochs and release are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs

from svcmgr.services.mgmtd import lease_terms as t
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.lease_machine import TABLE, Act, Role, Turn
from svcmgr.services.mgmtd.moment import Moment

#: A lease is over when *more* than its length has passed; a deadline lies this much behind, in seconds.
AFTER_S = 0.001


@attrs.frozen
class _Written:
    """A lease that we wrote, or may have written, and when that was begun."""

    lease: t.Lease
    begun: float

    @property
    def end(self) -> float:
        return self.begun + self.lease.length_s


class Leadership:
    """One candidate. Call :meth:`handle` with what happened, carry out what it returns, look at ``next_deadline``."""

    def __init__(self, me: t.Candidate, policy: t.Policy) -> None:
        self.role = TABLE.initial
        #: The lease as last read or written, by anyone.
        self.seen: t.Lease | None = None
        #: May be replaced at any time; a new length holds from the next extension.
        self.policy = policy
        self._me = me
        self._seen_at = 0.0
        self._held: _Written | None = None
        self._doubts: list[_Written] = []
        self._serial = 0
        self._asked: t.Look | _Written | None = None
        self._next_look: float | None = None
        self._since = 0.0
        self._top_epoch = 0
        self._abstain_until = -math.inf
        self._leaving = False
        self._disabled = False
        self._force: t.ForceRelease | None = None

    # --- asking

    @property
    def epoch(self) -> int | None:
        """The epoch that we own the lease under; None when we do not."""
        return self._held.lease.epoch if self._held else None

    @property
    def next_deadline(self) -> float | None:
        """When to give a Tick, on the monotonic clock; None before the first one and while the store is asked."""
        times = [] if self._asked or self._next_look is None else [self._next_look]
        if self._held:
            times.append(self._trust_end if self.role is Role.PRIMARY else self._held.end)
        return min(times, default=None)

    def serves(self, now: Moment) -> bool:
        """Whether we may answer as primary at this moment, even if a Tick is late."""
        return self.role is Role.PRIMARY and now.monotonic < self._trust_end

    def bootstrapping(self, now: Moment) -> bool:
        """Whether we became primary so recently that not every node may have been heard."""
        return self._held is not None and now.monotonic < self._since + self.policy.bootstrapping_s

    def check_serves(self, now: Moment) -> None:
        """Raises NotPrimary, which names the primary where one is surely known."""
        if not self.serves(now):
            answer = self.answer(now)
            holder = answer.primary if answer.fresh else None
            known = f"node {holder.node_id} is" if holder else "ask again in a few seconds, it is not known who is"
            raise NotPrimary(
                f"cannot answer as node {self._me.holder.node_id}: it is not the primary; {known}",
                primary=holder.node_id if holder else None,
            )

    def check_write(self, stored: t.Lease | None, now: Moment) -> None:
        """To be called in every transaction that writes, with the lease read in it. Raises NotPrimary."""
        held = self._held
        if held is None or stored is None or now.monotonic >= held.end or not _same_term(stored, held.lease):
            raise NotPrimary(
                f"cannot write as node {self._me.holder.node_id}: it does not own the lease; ask the primary",
                primary=None,
            )

    def answer(self, now: Moment) -> t.Answer:
        """Who is primary, as far as we know."""
        lease = self.seen
        if lease is None:
            return t.Answer(None, None, fresh=False)
        age = now.monotonic - self._seen_at
        if lease.released or age > lease.length_s:
            return t.Answer(None, lease.holder, fresh=False)
        mine = self._held is not None
        sure = self.serves(now) if mine else age + self.policy.suspicious_s < lease.length_s
        return t.Answer(lease.holder, None, fresh=sure)

    @property
    def _trust_end(self) -> float:
        return (self._held.end if self._held else 0.0) - self.policy.suspicious_s

    # --- being told

    def handle(self, event: t.Event, now: Moment) -> tuple[t.Effect, ...]:
        """Take one event; carry out the effects in order. Every Look and Put must be answered, in time or with failure.

        Raises:
            NotPrimary: a StepDown, and we do not own the lease.
        """
        return (*self._run_out(now), *self._take(event, now))

    def _take(self, event: t.Event, now: Moment) -> list[t.Effect]:
        match event:
            case t.Tick():
                return self._tick(now)
            case t.Found(lease) | t.Conflict(lease):
                self._asked = None
                return self._found(lease, now)
            case t.Stored():
                return self._stored(now)
            case t.StoreFailed():
                return self._failed(now)
            case t.Loaded(epoch):
                return self._loaded(epoch, Turn.LOADED if self._trusts(now) else Turn.LOADED_UNTRUSTED)
            case t.LoadFailed(epoch):
                return self._loaded(epoch, Turn.LOAD_FAILED)
            case t.StepDown():
                return self._step_down(now)
            case t.Disabled(disabled):
                self._disabled = disabled
                return self._withdraw(now) if disabled else []
            case t.ForceRelease():
                self._force = event
                return self._look_now()

    def _tick(self, now: Moment) -> list[t.Effect]:
        if self._asked or (self._next_look is not None and now.monotonic < self._next_look):
            return []  # it was the deadline of the lease, which _run_out saw to
        self._next_look = now.monotonic + self.policy.tick_s
        return [self._put(self._held.lease, self._renewed(self._held.lease), now)] if self._held else [self._look()]

    def _found(self, lease: t.Lease | None, now: Moment) -> list[t.Effect]:
        self._note(lease, now)
        effects: list[t.Effect] = []
        doubt = next((one for one in self._doubts if one.lease == lease), None)
        if doubt and not self._withdrawn:
            effects += self._own(doubt, now)
        elif self._held and lease != self._held.lease:
            effects += self._lose()
        if self._force:
            return effects + self._force_release(lease, now)
        return effects + self._claim(lease, now)

    def _stored(self, now: Moment) -> list[t.Effect]:
        written, self._asked = self._asked, None
        if not isinstance(written, _Written):
            return []
        self._doubts = []
        self._note(written.lease, now)
        if written.lease.released:
            self._leaving = False
            return []
        if self._withdrawn:
            return [self._put(written.lease, _free(written.lease), now)]
        return self._own(written, now) + (self._look_now() if self._force else [])

    def _failed(self, now: Moment) -> list[t.Effect]:
        asked = self._asked
        if isinstance(asked, _Written) and not asked.lease.released:
            self._doubts = [*(one for one in self._doubts if now.monotonic < one.end), asked]
        self._asked = None
        self._next_look = now.monotonic + self.policy.tick_s
        return []

    def _loaded(self, epoch: int, turn: Turn) -> list[t.Effect]:
        """The end of a load; one of an earlier epoch is of no use any more."""
        return self._turn(turn) if epoch == self.epoch and self.role is Role.LOADING else []

    def _step_down(self, now: Moment) -> list[t.Effect]:
        if self._held is None:
            raise NotPrimary(
                f"cannot step down as node {self._me.holder.node_id}: it does not own the lease; ask the primary",
                primary=self.seen.holder.node_id if self.seen else None,
            )
        self._abstain_until = now.monotonic + self.policy.length_s
        return self._withdraw(now)

    def _withdraw(self, now: Moment) -> list[t.Effect]:
        """Stop serving at once, and give the lease back as soon as the store can be asked."""
        if self._held is None:
            return []
        held = self._held.lease
        self._leaving = True
        effects = self._lose()
        if self._asked is None:
            effects.append(self._put(held, _free(held), now))
        return effects

    def _force_release(self, lease: t.Lease | None, now: Moment) -> list[t.Effect]:
        force, self._force = self._force, None
        if lease is None or force is None:
            return []
        if lease.holder == self._me.holder:
            self._abstain_until = now.monotonic + self.policy.length_s
        free = _free(lease)
        if force.any_release:
            free = attrs.evolve(free, release=None)
        self._next_look = now.monotonic
        return [*self._lose(), self._put(lease, free, now)]

    # --- deciding

    def _run_out(self, now: Moment) -> list[t.Effect]:
        """What the passing of time did to our lease."""
        effects: list[t.Effect] = []
        if self.role is Role.PRIMARY and not self._trusts(now):
            effects += self._turn(Turn.TRUST_LOST)
        if self._held and now.monotonic >= self._held.end:
            effects += self._lose()
        return effects

    def _claim(self, lease: t.Lease | None, now: Moment) -> list[t.Effect]:
        """What to do about a lease that is there: nothing, take it, or give it back."""
        mine = lease is not None and lease.holder == self._me.holder and not lease.released
        if lease is not None and mine and self._withdrawn:
            return [self._put(lease, _free(lease), now)]
        self._leaving = False
        if self._held or self._disabled or self._abstains(now) or self._outdated(lease):
            return []
        if lease is None or lease.released or self._over(lease, now):
            return [self._put(lease, self._new(now), now)]
        self._look_by(self._seen_at + lease.length_s + AFTER_S)
        return []

    def _over(self, lease: t.Lease, now: Moment) -> bool:
        """Whether nobody can be holding this lease: it is ours of before, a dead predecessor's, or ran out."""
        if lease.holder == self._me.holder:
            return True  # and we do not hold it: our own count ended, sooner than anybody's
        if lease.holder.node_id == self._me.holder.node_id and self.policy.sole_instance:
            return True
        return now.monotonic - self._seen_at > lease.length_s

    def _outdated(self, lease: t.Lease | None) -> bool:
        if not self.policy.check_release or lease is None or lease.release is None or self._me.release is None:
            return False
        return self._me.release < lease.release

    def _own(self, written: _Written, now: Moment) -> list[t.Effect]:
        """The lease is ours, counted from when it was written."""
        self._doubts = []
        if now.monotonic >= written.end:
            return self._lose()
        renewed = self._held is not None and _same_term(self._held.lease, written.lease)
        lost = [] if renewed else self._lose()
        self._held = written
        if not renewed:
            self._since = now.monotonic
            return lost + self._turn(Turn.WON)
        return self._turn(Turn.RENEWED) if self.role is not Role.SUSPECT or self._trusts(now) else []

    def _lose(self) -> list[t.Effect]:
        if self._held is None:
            return []
        effects = self._turn(Turn.LOST)
        self._held = None
        return effects

    def _turn(self, turn: Turn) -> list[t.Effect]:
        cell = TABLE.step(self.role, turn)
        self.role = cell.state
        return [_EFFECTS[act](self.epoch or 0) for act in cell.effects]

    # --- remembering and asking

    def _note(self, lease: t.Lease | None, now: Moment) -> None:
        """Remember what is there; its age counts from the first time it was seen."""
        if lease != self.seen:
            self._seen_at = now.monotonic
        self.seen = lease
        if lease is not None:
            self._top_epoch = max(self._top_epoch, lease.epoch)
            self._serial = max(self._serial, lease.serial)

    @property
    def _withdrawn(self) -> bool:
        return self._leaving or self._disabled

    def _abstains(self, now: Moment) -> bool:
        return now.monotonic < self._abstain_until

    def _trusts(self, now: Moment) -> bool:
        return self._held is not None and now.monotonic < self._trust_end

    def _look(self) -> t.Look:
        self._asked = look = t.Look()
        return look

    def _look_now(self) -> list[t.Effect]:
        return [] if self._asked else [self._look()]

    def _look_by(self, when: float) -> None:
        self._next_look = when if self._next_look is None else min(self._next_look, when)

    def _put(self, expected: t.Lease | None, new: t.Lease, now: Moment) -> t.Put:
        """Ask for a write. No two attempts are equal: a lease that is found tells which of them was carried out."""
        self._serial += 1
        new = attrs.evolve(new, serial=self._serial, renewed_utc=now.utc)
        self._asked = _Written(new, now.monotonic)
        return t.Put(expected, new)

    def _new(self, now: Moment) -> t.Lease:
        return t.Lease(
            holder=self._me.holder,
            epoch=self._top_epoch + 1,
            length_s=self.policy.length_s,
            release=self._me.release,
            started_utc=now.utc,
        )

    def _renewed(self, lease: t.Lease) -> t.Lease:
        return attrs.evolve(lease, length_s=self.policy.length_s, release=self._me.release)


_EFFECTS: Mapping[Act, Callable[[int], t.Effect]] = {
    Act.LOAD: t.Load,
    Act.SERVE: t.Serve,
    Act.PAUSE: t.Pause,
    Act.RETIRE: t.Retire,
}


def _same_term(one: t.Lease, other: t.Lease) -> bool:
    """Whether both are the same owner's under one epoch, and neither was given up."""
    return (one.holder, one.epoch, one.released) == (other.holder, other.epoch, False)


def _free(lease: t.Lease) -> t.Lease:
    return attrs.evolve(lease, released=True)
