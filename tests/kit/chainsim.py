"""One chain, its manager and its machines in discrete time, with everything going wrong: does it lose a write?

A client writes 1, 2, 3, ... through the chain. Machines forward along it, refuse what carries another version of the
chain than theirs, and follow the contract of storage nodes: start as OFFLINE until nobody relies on them, close and
reload when the chain goes on without them, serve when told, say UPTODATE when synced. Every 200 ticks a machine or the
manager is shut down, cut off or hung. In the last part all is well, and everybody must hold the same.

``python -m tests.kit.chainsim SEEDS`` runs chains of 1, 2 and 3 with that many seeds each. The shape of the simulation
is that of deepseek-ai/3FS: tests/mgmtd/TestUpdateChain.cc.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from collections.abc import Callable

from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.chains import judge
from svcmgr.services.mgmtd.reports import Known, apply_report, silent_targets
from svcmgr.services.mgmtd.states import LocalState, PublicState
from svcmgr.services.mgmtd.targets import ChainTarget, LocalTarget, TargetInfo
from tests.kit.chains import heard, show, step_breaches

P, L = PublicState, LocalState
HEARTBEAT, TIMEOUT, SYNC, LATENCY, FAULT_EVERY, QUIET, RETRY = 20, 60, 50, 8, 200, 1000, 40
LOSS = WRITE_FAILS = 0.1
NOTHING = -1
IN_CHAIN = (P.SERVING, P.SYNCING)


class Part:
    """Something that can be shut down, cut off, or hung until a tick."""

    def __init__(self) -> None:
        self.up, self.deaf, self.mute, self.hung = True, False, False, False

    def heal(self) -> None:
        if not self.up:
            self.start()
        self.up, self.deaf, self.mute, self.hung = True, False, False, False

    def start(self) -> None:
        """Begin anew, with what is on disk."""

    @property
    def runs(self) -> bool:
        return self.up and not self.hung


class Manager(Part):
    """What mgmtd does for one chain; local states are in memory, the chain is stored."""

    def __init__(self, sim: Sim, length: int) -> None:
        super().__init__()
        self.sim = sim
        self.chain = Chain(1, 1, tuple(ChainTarget(number + 1, P.CREATED) for number in range(length)))
        self.start()

    def start(self) -> None:
        self.frozen_until = self.sim.now + (TIMEOUT if self.chain.version > 1 else 0)
        self.infos = {
            t.target_id: TargetInfo(target_id=t.target_id, chain_id=1, public=t.public) for t in self.chain.targets
        }
        self.heard_at: dict[int, float] = {}

    def report(self, node: int, target: LocalTarget) -> None:
        said = apply_report(node, [target], Known(self.infos, lambda _: self.chain.version))
        self.heard_at.update(dict.fromkeys(said.heard, float(self.sim.now)))
        self.infos.update({info.target_id: info for info in said.changed})

    def tick(self) -> None:
        silent = silent_targets(self.infos.values(), self.heard_at, TIMEOUT, self.sim.now)
        self.infos.update({info.target_id: info for info in silent})
        if self.sim.now < self.frozen_until:
            return
        before = heard(self.chain.targets, [self.infos[number].local for number in self.chain.target_ids])
        after = judge(before)
        if before[0].public is not P.CREATED:
            breaches = list(step_breaches(before, after))
            assert breaches == [], f"{show(before)} -> {show(after)}: {breaches}"
        self.chain = self.chain.arranged(after)


class Machine(Part):
    """A storage node with one target. ``data`` is on disk."""

    def __init__(self, sim: Sim, number: int) -> None:
        super().__init__()
        self.sim, self.number, self.data = sim, number, 0
        self.start()

    def start(self) -> None:
        self.local, self.view, self.held_back, self.syncing_to = L.ONLINE, None, True, 0

    @property
    def public(self) -> PublicState:
        targets = self.view.targets if self.view else ()
        return next((t.public for t in targets if t.target_id == self.number), P.INVALID)

    def tick(self) -> None:
        if self.sim.now % HEARTBEAT == self.number:
            self.send_report()
        if self.sim.now % 5 == 0:
            self.sim.send(self, self.sim.manager, lambda: self.sim.answer_routing(self))
        if self.sim.now % 10 == 0:
            self.sync_next()

    def send_report(self) -> None:
        local = L.OFFLINE if self.held_back else self.local
        version = 0 if local is L.OFFLINE or self.view is None else self.view.version
        said = LocalTarget(target_id=self.number, local=local, chain_version=version)
        self.sim.send(self, self.sim.manager, lambda: self.sim.manager.report(self.number, said))

    def routed(self, chain: Chain) -> None:
        if self.view and chain.version < self.view.version:
            return
        was, self.view = self.public, chain
        now = self.public
        if self.held_back and now not in (P.SERVING, P.SYNCING, P.WAITING):
            self.held_back = False
        if self.held_back:
            return
        if now is P.SYNCING and was is not P.SYNCING:
            self.data = NOTHING  # a sync begins with nothing
        if self.local is L.UPTODATE and now in (P.OFFLINE, P.LASTSRV, P.WAITING):
            self.local = L.ONLINE
        elif self.local is L.ONLINE and now is P.SERVING:
            self.local = L.UPTODATE
        if was is not now:
            self.send_report()

    def next_id(self) -> int | None:
        """The target after this one that takes writes."""
        assert self.view is not None
        chain = [t.target_id for t in self.view.targets if t.public in IN_CHAIN]
        place = chain.index(self.number) + 1
        return chain[place] if place < len(chain) else None

    def write(self, value: int, version: int, done: Callable[[], None]) -> None:
        usable = not self.held_back and self.public in IN_CHAIN
        if not usable or self.view is None or self.view.version != version or self.sim.chance(WRITE_FAILS):
            return
        if self.public is P.SERVING and self.local is not L.UPTODATE:
            return
        self.data = max(self.data, value)
        following = self.next_id()
        if following is None:
            self.sim.send(self, None, done)
        else:
            other = self.sim.machines[following]
            self.sim.send(self, other, lambda: other.write(value, version, done))

    def sync_next(self) -> None:
        if self.held_back or self.public is not P.SERVING or self.local is not L.UPTODATE or self.view is None:
            return
        following = self.next_id()
        if following is None or self.view.targets[self._place(following)].public is not P.SYNCING:
            return
        if self.syncing_to != self.view.version:
            self.syncing_to = self.view.version
            self.sim.after(self.sim.rng.randint(1, SYNC), lambda: self.synced(following, self.syncing_to))

    def _place(self, target_id: int) -> int:
        assert self.view is not None
        return self.view.target_ids.index(target_id)

    def synced(self, following: int, version: int) -> None:
        self.syncing_to = 0  # should the message be lost, it is begun again
        if not self.runs or self.view is None or self.view.version != version or self.public is not P.SERVING:
            return
        other, data = self.sim.machines[following], self.data
        self.sim.send(self, other, lambda: other.filled(data, version))

    def filled(self, data: int, version: int) -> None:
        if self.view and self.view.version == version and self.public is P.SYNCING and not self.held_back:
            self.data = max(self.data, data)
            self.local = L.UPTODATE
            self.send_report()


class Sim:
    """Time, the network and the client."""

    def __init__(self, length: int, seed: int, ticks: int) -> None:
        self.rng = random.Random(f"{length}-{seed}")
        self.now, self.ticks = 0, ticks
        self.committed, self.asked, self.asked_at = 0, 0, -RETRY
        self.view: Chain | None = None
        self.blank: Machine | None = None
        self._queue: list[tuple[int, int, Part | None, Callable[[], None]]] = []
        self._order = itertools.count()
        self.manager = Manager(self, length)
        self.machines = {number + 1: Machine(self, number + 1) for number in range(length)}

    def chance(self, of: float) -> bool:
        return self.rng.random() < of and not self.quiet

    @property
    def quiet(self) -> bool:
        return self.now >= self.ticks - QUIET

    def after(self, delay: int, act: Callable[[], None], to: Part | None = None) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), to, act))

    def send(self, source: Part | None, to: Part | None, act: Callable[[], None]) -> None:
        """Deliver later, perhaps; a hung receiver finds it when it goes on."""
        if (source and (not source.up or source.mute)) or self.chance(LOSS):
            return
        self.after(self.rng.randint(1, LATENCY), act, to)

    def answer_routing(self, machine: Machine) -> None:
        chain = self.manager.chain
        self.send(self.manager, machine, lambda: machine.routed(chain))

    def run(self) -> None:
        while self.now < self.ticks:
            self._deliver()
            for part in (self.manager, *self.machines.values()):
                if part.runs:
                    part.tick()
            if self.now % FAULT_EVERY == 0:
                self._fault()
            self._client()
            self.now += 1

    def _deliver(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, to, act = heapq.heappop(self._queue)
            if to is not None and to.hung:
                self.after(10, act, to)
            elif to is None or (to.up and not to.deaf):
                act()

    def _fault(self) -> None:
        parts: list[Part] = [self.manager, *self.machines.values()]
        if self.quiet:
            return
        part = self.rng.choice(parts)
        self.after(self.rng.randint(20, FAULT_EVERY - 20), part.heal)
        setattr(part, *self.rng.choice([("up", False), ("deaf", True), ("mute", True), ("hung", True)]))
        if self.now >= self.ticks / 2 and self.blank is None:
            self._lose_data(part)

    def _lose_data(self, part: Part) -> None:
        """Once, a machine that others can replace is shut down and loses its disk."""
        serving = [t.target_id for t in self.manager.chain.targets if t.public is P.SERVING]
        if isinstance(part, Machine) and any(number != part.number for number in serving):
            self.blank, part.up, part.data = part, False, NOTHING

    def _client(self) -> None:
        if self.now % 10 == 0 and self.manager.runs:
            self.view = self.manager.chain
        head = self.view.targets[0] if self.view else None
        if head is None or self.view is None or head.public is not P.SERVING:
            return
        if self.quiet and self.asked == self.committed:
            return  # what was begun is carried through, and nothing new is begun
        if self.now - self.asked_at >= RETRY:
            value, version, self.asked_at = self.committed + 1, self.view.version, self.now
            self.asked = value
            machine = self.machines[head.target_id]
            self.send(None, machine, lambda: machine.write(value, version, lambda: self._acknowledged(value)))

    def _acknowledged(self, value: int) -> None:
        if value == self.committed + 1:
            self.committed, self.asked_at = value, self.now - RETRY
            self._check_kept(value)

    def _check_kept(self, value: int) -> None:
        """Whoever counts as serving has it, except a machine that lost its disk and was not missed yet."""
        for target in self.manager.chain.targets:
            machine = self.machines[target.target_id]
            missed = machine is self.blank and (machine.held_back or not machine.up)
            if target.public is P.SERVING and not missed:
                told = f"tick {self.now}: {value} is acknowledged, target {machine.number} has {machine.data}"
                assert machine.data >= value, told

    def check_end(self) -> None:
        """All serve, all hold the same, and nothing that was acknowledged is missing."""
        chain = self.manager.chain
        held = {machine.data for machine in self.machines.values()}
        assert {t.public for t in chain.targets} == {P.SERVING}, show(chain.targets)
        assert len(held) == 1, held
        assert held == {self.committed}
        assert {machine.view.version for machine in self.machines.values() if machine.view} == {chain.version}


def simulate(length: int, seed: int, ticks: int = 10_000) -> Sim:
    """A whole run; AssertionError when something is lost."""
    sim = Sim(length, seed, ticks)
    sim.run()
    sim.check_end()
    return sim


if __name__ == "__main__":
    for chosen in itertools.product((1, 2, 3), range(int(sys.argv[1]))):
        try:
            simulate(*chosen)
        except AssertionError as error:
            print(f"length and seed {chosen}: {error}")
