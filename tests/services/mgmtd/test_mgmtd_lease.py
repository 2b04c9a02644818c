"""The lease: the spec's cases on an even store, then histories with a bad one in which two must never serve at once."""

from __future__ import annotations

import random

import attrs
import pytest

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import lease_terms as t
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.lease import Leadership
from svcmgr.services.mgmtd.lease_machine import Role
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.release import parse_release
from tests.kit.leases import Runner, World, may_write

OLD, NEW = parse_release("1.0.0"), parse_release("1.1.0")
POLICY = t.Policy()
#: The unit of the cases L01 to L06 is a microsecond; which it is does not matter here.
SHORT = t.Policy(length_s=1000.0, tick_s=50.0, suspicious_s=100.0)


def candidate(number, release=NEW, incarnation="first"):
    return t.Candidate(t.Holder(number, f"{incarnation}-{number}"), release)


class Desk:
    """Candidates that look at one store by hand, at the times the cases say."""

    def __init__(self, policy=SHORT):
        self.policy = policy
        self.stored = None
        self.leads = {}

    def lead(self, number, release=NEW):
        return self.leads.setdefault(number, Leadership(candidate(number, release), self.policy))

    def tick(self, number, when, release=NEW):
        """One look of ``number`` at this time; who owns the lease afterwards."""
        lead = self.lead(number, release)
        self._do(lead, lead.handle(t.Tick(), Moment(when, when)), Moment(when, when))
        return self.stored.holder.node_id if self.stored else None

    def tell(self, number, event, when):
        lead = self.lead(number)
        effects = lead.handle(event, Moment(when, when))
        self._do(lead, effects, Moment(when, when))
        return effects

    def _do(self, lead, effects, now):
        for effect in effects:
            match effect:
                case t.Look():
                    self._do(lead, lead.handle(t.Found(self.stored), now), now)
                case t.Put(expected, new):
                    done = expected == self.stored
                    self.stored = new if done else self.stored
                    self._do(lead, lead.handle(t.Stored() if done else t.Conflict(self.stored), now), now)
                case t.Load(epoch):
                    self._do(lead, lead.handle(t.Loaded(epoch), now), now)


def test_L01_to_L05_taking_keeping_and_losing_the_lease():
    desk = Desk()
    assert desk.tick(1, 10000) == 1
    assert desk.stored.length_s == 1000
    assert desk.tick(2, 10000) == 1
    assert desk.tick(2, 10900) == 1
    assert desk.tick(2, 11100) == 2
    first = desk.stored
    assert desk.tick(2, 11500) == 2
    assert (desk.stored.epoch, desk.stored.started_utc) == (first.epoch, first.started_utc)
    assert desk.stored.serial > first.serial
    assert desk.tick(2, 13000) == 2
    assert (desk.stored.epoch, desk.stored.started_utc) == (first.epoch + 1, 13000)


@pytest.mark.parametrize(("late", "owner"), [(0, 1), (1, 2)])
def test_L06_a_lease_is_taken_over_only_after_its_end(late, owner):
    desk = Desk()
    desk.tick(1, 10000)
    desk.tick(2, 10010)
    assert desk.tick(2, 11010 + late) == owner


def test_L07_an_older_release_gets_the_lease_neither_alive_nor_expired():
    desk = Desk()
    desk.tick(1, 10000)
    assert desk.tick(2, 10100, OLD) == 1
    assert desk.tick(2, 99999, OLD) == 1


def test_L07_unless_an_operator_says_so():
    desk = Desk()
    desk.tick(1, 10000)
    desk.tick(2, 10100, OLD)
    desk.tell(2, t.ForceRelease(), 10200)
    assert (desk.stored.released, desk.tick(2, 10300, OLD)) == (True, 1)
    desk.tell(2, t.ForceRelease(any_release=True), 10400)
    assert desk.tick(2, 10400, OLD) == 2
    assert desk.stored.release == OLD


def test_L07_without_the_check_an_older_release_waits_like_any_other():
    desk = Desk(attrs.evolve(SHORT, check_release=False))
    desk.tick(1, 10000)
    assert desk.tick(2, 10100, OLD) == 1
    assert desk.tick(2, 11200, OLD) == 2


def test_L09_a_disabled_node_does_not_touch_the_lease():
    desk = Desk()
    desk.tell(1, t.Disabled(True), 0)
    assert desk.tick(1, 10000) is None
    desk.tell(1, t.Disabled(False), 10050)
    assert desk.tick(1, 10100) == 1


def test_L09_a_primary_that_is_disabled_answers_not_primary_at_once_and_lets_go():
    desk = Desk()
    desk.tick(1, 10000)
    lead = desk.lead(1)
    lead.check_serves(Moment(10001, 0))
    desk.tell(1, t.Disabled(True), 10001)
    with pytest.raises(NotPrimary):
        lead.check_serves(Moment(10001, 0))
    assert desk.stored.released
    assert desk.tick(1, 10100) == 1
    assert desk.stored.released
    assert desk.tick(2, 10100) == 2
    assert desk.stored.epoch == 2


def test_L10_who_is_not_owner_or_whose_lease_expired_cannot_write():
    desk = Desk()
    desk.tick(1, 10000)
    lead, other = desk.lead(1), desk.lead(2)
    lead.check_write(desk.stored, Moment(10999, 0))
    released = attrs.evolve(desk.stored, released=True)
    deposed = attrs.evolve(desk.stored, epoch=2, holder=t.Holder(2, "x"))
    for stored, when in [(desk.stored, 11000), (None, 10500), (released, 10500), (deposed, 10500)]:
        with pytest.raises(NotPrimary):
            lead.check_write(stored, Moment(when, 0))
    with pytest.raises(NotPrimary):
        other.check_write(desk.stored, Moment(10500, 0))


def test_L11_a_primary_without_a_store_serves_until_its_lease_is_suspicious():
    world = World()
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.Tick())
    world.run(90.0)
    world.fate = lambda: "lost"
    world.run(129.999)
    assert one.serves()
    world.run(130.0)
    assert not one.serves()
    with pytest.raises(NotPrimary) as caught:
        one.lead.check_serves(one.moment)
    assert caught.value.details["primary"] is None
    world.run(149.9)
    assert one.lead.role is Role.SUSPECT
    world.run(151.0)
    assert one.lead.role is Role.FOLLOWER
    assert [what for _, what in one.log] == ["load", "serve", "pause", "retire"]


def test_L11_an_extension_in_time_goes_on_without_loading():
    world = World()
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.Tick())
    world.run(0.0)
    world.fate = lambda: "lost"
    world.run(45.0)
    assert not one.serves()
    world.fate = lambda: None
    world.run(55.0)
    assert one.serves()
    assert [what for _, what in one.log] == ["load", "serve", "pause", "serve"]


def test_L13_and_L14_who_is_primary():
    desk = Desk()
    me = desk.lead(2)
    assert me.answer(Moment(9000, 0)) == t.Answer(None, None, fresh=False)
    desk.tick(1, 10000)
    desk.tick(2, 10000)
    first = candidate(1).holder
    assert me.answer(Moment(10800, 0)) == t.Answer(first, None, fresh=True)
    assert me.answer(Moment(10950, 0)) == t.Answer(first, None, fresh=False)
    assert me.answer(Moment(11001, 0)) == t.Answer(None, first, fresh=False)
    assert desk.lead(1).answer(Moment(10500, 0)) == t.Answer(first, None, fresh=True)


def test_a_follower_names_the_primary_while_it_is_sure():
    desk = Desk()
    desk.tick(1, 10000)
    desk.tick(2, 10000)
    for when, named in [(10800, 1), (10950, None)]:
        with pytest.raises(NotPrimary) as caught:
            desk.lead(2).check_serves(Moment(when, 0))
        assert caught.value.details["primary"] == named


def test_L15_a_primary_that_is_killed_is_replaced_when_its_lease_was_unchanged_for_its_length():
    world = World()
    one, two = Runner(world, candidate(1), POLICY), Runner(world, candidate(2), POLICY)
    world.after(4.0, lambda: one.tell(t.Tick()))
    world.after(4.0, lambda: two.tell(t.Tick()))
    world.after(5.0, lambda: setattr(one, "alive", False))
    world.run(5.0)
    world.stored = attrs.evolve(world.stored, serial=99)  # extended at 5, as the last thing it did
    world.run(73.9)
    assert not two.serves()
    world.run(74.1)
    assert two.serves()
    assert world.stored.epoch == 2


def test_L17_a_new_primary_is_bootstrapping_for_a_while():
    world = World()
    one = Runner(world, candidate(1), POLICY)
    assert not one.lead.bootstrapping(one.moment)
    one.tell(t.Tick())
    world.run(119.0)
    assert one.serves()
    assert one.lead.bootstrapping(one.moment)
    world.run(120.0)
    assert not one.lead.bootstrapping(one.moment)


def test_L17_a_restarted_process_takes_over_at_once_only_from_a_predecessor_that_is_surely_dead():
    for sole, at_once in [(True, "second-1"), (False, "first-1")]:
        desk = Desk(attrs.evolve(SHORT, sole_instance=sole))
        desk.tick(1, 10000)
        desk.leads[1] = Leadership(candidate(1, incarnation="second"), desk.policy)
        desk.tick(1, 10001)
        assert desk.stored.holder.incarnation == at_once
        desk.tick(1, 11100)
        assert desk.stored.holder.incarnation == "second-1"
        assert desk.stored.epoch > 1


def test_L18_a_load_that_fails_is_tried_again_at_the_next_tick():
    world = World()
    one = Runner(world, candidate(1), POLICY)
    world.loaded = t.LoadFailed
    one.tell(t.Tick())
    world.run(9.0)
    assert (one.lead.role, one.serves()) == (Role.OWNER, False)
    world.loaded = t.Loaded
    world.run(10.0)
    assert one.serves()
    assert one.log == [(0.0, "load"), (10.0, "load"), (10.0, "serve")]


def test_a_load_that_ends_in_the_suspicious_time_serves_only_after_an_extension():
    world = World()
    world.loads = False
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.Tick())
    world.run(0.0)
    world.fate = lambda: "lost"
    world.run(45.0)
    one.tell(t.Loaded(1))
    assert (one.lead.role, one.serves()) == (Role.SUSPECT, False)
    world.fate = lambda: None
    world.run(55.0)
    assert one.serves()


def test_a_load_of_an_earlier_epoch_is_ignored():
    world = World()
    world.loads = False
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.Tick())
    world.run(1.0)
    one.tell(t.Loaded(7))
    one.tell(t.LoadFailed(7))
    assert one.lead.role is Role.LOADING


def test_L19_of_two_that_race_for_a_free_lease_one_wins():
    world = World(latency=lambda: 1.0)
    both = [Runner(world, candidate(number), POLICY) for number in (1, 2)]
    for one in both:
        one.tell(t.Tick())
    world.run(20.0)
    assert [one.serves() for one in both] == [True, False]
    assert world.epochs == [1]
    assert both[1].lead.answer(both[1].moment).primary == candidate(1).holder


def test_a_lease_that_is_given_back_is_taken_at_once_and_not_by_the_giver():
    world = World()
    one, two = (Runner(world, candidate(number), POLICY) for number in (1, 2))
    one.tell(t.Tick())
    two.tell(t.Tick())
    world.run(15.0)
    one.tell(t.StepDown())
    assert not one.serves()
    world.run(20.0)
    assert two.serves()
    assert world.epochs == [1, 2]
    with pytest.raises(NotPrimary):
        one.tell(t.StepDown())


def test_a_giver_who_is_alone_takes_the_lease_again_after_the_length_of_one():
    world = World()
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.Tick())
    world.run(15.0)
    one.tell(t.StepDown())
    world.run(74.0)
    assert not one.serves()
    world.run(81.0)
    assert one.serves()


def test_a_step_down_while_the_lease_is_being_written_is_carried_out_afterwards():
    world = World(latency=lambda: 2.0)
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.Tick())
    world.run(19.0)  # a Put is on its way
    one.tell(t.StepDown())
    world.run(40.0)
    assert world.stored.released


def test_a_force_release_takes_the_lease_from_a_primary_that_still_serves():
    world = World()
    one, two = (Runner(world, candidate(number), POLICY) for number in (1, 2))
    one.tell(t.Tick())
    two.tell(t.Tick())
    world.run(5.0)
    two.tell(t.ForceRelease())
    world.run(6.0)
    assert not may_write(one)
    assert may_write(two)
    world.run(11.0)
    assert not one.serves()


def test_a_primary_told_to_release_by_force_lets_go_itself():
    world = World()
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.ForceRelease())
    world.run(0.0)
    assert world.stored is None
    one.tell(t.Tick())
    world.run(5.0)
    one.tell(t.ForceRelease())
    world.run(6.0)
    assert (world.stored.released, one.serves()) == (True, False)


def test_a_lease_that_was_deleted_is_taken_under_a_higher_epoch():
    world = World()
    one = Runner(world, candidate(1), POLICY)
    one.tell(t.Tick())
    world.run(5.0)
    world.stored = None
    world.run(11.0)
    assert (one.serves(), world.stored.epoch) == (True, 2)


@pytest.mark.parametrize("durations", [(60, 10, 50), (60, 0, 20), (60, 10, -1), (0, 10, 20)])
def test_durations_with_which_a_lease_cannot_be_held(durations):
    length, tick, suspicious = durations
    with pytest.raises(BadInput):
        t.Policy(length_s=length, tick_s=tick, suspicious_s=suspicious)


class History:
    """Three candidates, wrong wall clocks, a bad store, and everything that can be told to them.

    They trust a lease to its very end, so that nothing hides behind the suspicious interval.
    """

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.world = World(latency=lambda: rng.choice([0.001, 0.01, rng.random() * 30]))
        self.world.fate = lambda: rng.choices([None, "lost", "doubt", "late"], [7, 1, 1, 1])[0]
        self.runners = [self.born(number) for number in (1, 2, 3)]
        self.served = 0

    def born(self, number):
        incarnation = str(self.rng.random())
        me, trusting = candidate(number, incarnation=incarnation), t.Policy(suspicious_s=0.0)
        runner = Runner(self.world, me, trusting, self.rng.random() * 1000)
        runner.wall_error = self.rng.uniform(-1e6, 1e6)
        runner.tell(t.Tick())
        return runner

    def check(self):
        serving = [one for one in self.runners if one.serves()]
        writing = [one for one in self.runners if one.alive and may_write(one)]
        assert len(serving) <= 1
        assert len(writing) <= 1
        self.served += len(serving)

    def disturb(self):
        place = self.rng.randrange(3)
        match self.rng.randrange(8):
            case 0:
                self.runners[place].alive = False
                self.runners[place] = self.born(place + 1)
            case 1 if self.runners[place].lead.epoch:
                self.runners[place].tell(t.StepDown())
            case 2:
                self.runners[place].tell(t.Disabled(True))
            case _:
                self.runners[place].tell(t.Disabled(False))


@pytest.mark.parametrize("seed", range(100))
def test_never_do_two_serve_and_epochs_only_rise(seed):
    history = History(seed)
    for _ in range(40):
        history.world.run(history.world.now + history.rng.random() * 60, history.check)
        history.disturb()
        history.check()
    assert history.world.epochs == sorted(set(history.world.epochs))
    history.world.fate = lambda: None
    history.world.latency = lambda: 0.01
    for one in history.runners:
        one.tell(t.Disabled(False))
    history.world.run(history.world.now + 400, history.check)
    assert [one.serves() for one in history.runners].count(True) == 1
    assert history.served > 0
