"""A restore in place that is cut off after any number of steps, and carried out again."""

import os
import uuid

import pytest

from svcmgr.clock import SystemClock
from svcmgr.services.snapd import restore, swap
from svcmgr.services.snapd.catalogue import Catalogue
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.taking import Order, Taking
from tests.kit.snapds import VOLUME_ID, volfile


class PowerCut(BaseException):
    """Ends everything at once, as kill -9 does."""


class Volume:
    """One brick, a store, and what a crash of snapd leaves of memory: nothing."""

    def __init__(self, where):
        self.brick = where / "brick"
        self.brick.mkdir(parents=True)
        self.settings = Settings.from_volfile(volfile([self.brick], where / "store"))
        self.catalogue = Catalogue(self.settings.store, VOLUME_ID)
        self.catalogue.load()

    def take(self, name):
        return Taking(self.settings, self.catalogue, SystemClock()).take(Order(name, 1.0), Job())

    def content(self):
        found = {}
        for directory, _, files in os.walk(self.brick):
            for name in files:
                path = os.path.join(directory, name)
                if ".svcmgr" not in path:
                    with open(path) as file:
                        found[os.path.relpath(path, self.brick)] = file.read()
        return found


def furnished(where):
    volume = Volume(where)
    for name in ("a", "b", "sub/c", "sub/d"):
        path = volume.brick / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"old {name}")
    record = volume.take("one")
    (volume.brick / "a").write_text("new")
    (volume.brick / "b").unlink()
    (volume.brick / "sub" / "d").unlink()
    (volume.brick / "added").write_text("new")
    return volume, record


OLD = {name: f"old {name}" for name in ("a", "b", "sub/c", "sub/d")}


@pytest.mark.parametrize(("path", "expected"), [("", OLD), ("a", None), ("sub", None)])
def test_a_plan_may_be_cut_off_anywhere(tmp_path, monkeypatch, path, expected):
    rename, cut_at, cuts = os.rename, 0, 0
    while True:
        volume, record = furnished(tmp_path / str(cut_at))
        plan = restore.prepare(restore.Source.of(record, path, 0), volume.settings, Job())
        swap.write(volume.settings.store, plan)
        steps = iter(range(1000))

        def cut_off(*args, steps=steps, at=cut_at, **more):
            if next(steps) == at:
                raise PowerCut
            rename(*args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", cut_off)
            try:
                swap.carry_out(plan, Job())
            except PowerCut:
                cuts += 1
                done = False
            else:
                done = True
        plan = swap.read(next(volume.settings.store.glob("*.plan")))
        assert swap.carry_out(plan, Job()) == []
        assert swap.carry_out(plan, Job()) == []
        wanted = expected or {
            "a": "old a" if path == "a" else "new",
            "added": "new",
            **{name: text for name, text in OLD.items() if name == "sub/c" or (name == "sub/d" and path == "sub")},
        }
        assert volume.content() == wanted
        if done:
            break
        cut_at += 1
    assert cuts >= 2


def test_what_somebody_made_meanwhile_is_moved_away_not_lost(tmp_path):
    volume, record = furnished(tmp_path)
    plan = restore.prepare(restore.Source.of(record, "a", 0), volume.settings, Job())
    work = volume.brick / ".svcmgr" / plan.workplace
    (work / "old" / "a").write_text("moved away before the crash")
    assert swap.carry_out(plan, Job()) == []
    assert (volume.brick / "a").read_text() == "old a"
    assert sorted(path.read_text() for path in (work / "old").iterdir()) == ["moved away before the crash", "new"]


def test_a_plan_survives_as_a_file(tmp_path):
    plan = swap.Plan(
        str(uuid.uuid4()), str(uuid.uuid4()), [swap.Place("/b", ["a", "ü"], "c"), swap.Place("/b", [], "")]
    )
    swap.write(tmp_path, plan)
    assert swap.read(tmp_path / f"{plan.id}.plan") == plan
    swap.forget(tmp_path, plan)
    swap.forget(tmp_path, plan)
    assert list(tmp_path.iterdir()) == []
