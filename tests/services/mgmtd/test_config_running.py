"""How a node takes versions, refuses them, and drifts."""

from __future__ import annotations

import attrs
import pytest

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.history import History
from svcmgr.services.mgmtd.config.kinds import Bool, Duration, Integer, Text
from svcmgr.services.mgmtd.config.running import Drift, Running, Update, drift, judged
from svcmgr.services.mgmtd.config.schema import Key, Schema
from svcmgr.services.mgmtd.config.version import ConfigVersion, Proposal
from svcmgr.services.mgmtd.errors import InvalidConfigVersion
from svcmgr.services.mgmtd.states import ConfigStatus

SCHEMA = Schema(
    "storage",
    (
        Key("threads", Integer(1, 64), 8, "Threads.", hot=False),
        Key("idle", Duration(), 60.0, "Idle."),
        Key("fast", Bool(), False, "Fast."),
        Key("zone", Text(), "", "Zone."),
    ),
)
NODE = Facts(1, "h", "storage", {"zone": "a"})


def version(number: int, content: str) -> ConfigVersion:
    return ConfigVersion.make(number, Proposal(content, desc=f"number {number}"), 0.0)


def test_a_node_begins_with_the_built_in_version():
    node = Running.start(SCHEMA, NODE)
    assert (node.version, node.values, node.drift()) == (0, SCHEMA.defaults(), Drift(ConfigStatus.NORMAL))


def test_a_node_takes_what_is_newer_and_nothing_else():
    node = Running.start(SCHEMA, NODE).offered(version(2, "idle = '2min'"), 5.0)
    assert (node.version, node.values["idle"]) == (2, 120.0)
    assert node.last == Update(5.0, 2, "number 2")
    assert node.offered(version(2, "idle = 1"), 6.0) is node
    assert node.offered(version(1, "idle = 1"), 6.0) is node


@pytest.mark.parametrize(
    ("content", "key"),
    [("threads = 4\nfast = true", "threads"), ("fats = true", "fats"), ("zone = {{ tag 'x' }}", "tag")],
)
def test_G05_a_refused_version_is_offered_again_and_its_refusal_is_seen(content, key):
    history = History("storage").set(Proposal("idle = 5"), 0.0).set(Proposal(content), 1.0)
    first = history.find(1)
    assert first is not None
    node = Running.start(SCHEMA, NODE, first)
    for now in (10.0, 20.0):
        offer = history.newer(node.version)
        assert offer is not None
        assert offer.version == 2
        node = node.offered(offer, now)
        assert node.version == 1
        assert (node.values["idle"], node.values["fast"]) == (5.0, False), "nothing of it was applied"
        found = node.drift()
        assert found.status is ConfigStatus.FAILED
        assert key in found.reason
        assert node.last is not None
        assert (node.last.at, node.last.version) == (now, 2)
    assert judged(node.version, found.status, wanted=2) is ConfigStatus.FAILED


def test_a_cold_key_that_keeps_its_value_is_no_change():
    node = Running.start(SCHEMA, NODE).offered(version(1, "threads = 8\nfast = true"), 1.0)
    assert (node.version, node.values["fast"]) == (1, True)


def test_after_a_restart_a_cold_change_is_taken():
    cold = version(1, "threads = 4")
    assert Running.start(SCHEMA, NODE).offered(cold, 1.0).drift().status is ConfigStatus.FAILED
    assert Running.start(SCHEMA, NODE, cold).drift() == Drift(ConfigStatus.NORMAL)
    with pytest.raises(InvalidConfig):
        Running.start(SCHEMA, NODE, version(1, "threads = 0"))


def test_a_rollback_heals_a_node_that_refused():
    node = Running.start(SCHEMA, NODE, version(1, "idle = 5")).offered(version(2, "idle = -5"), 1.0)
    assert node.drift().status is ConfigStatus.FAILED
    node = node.offered(version(3, "idle = 5"), 2.0)
    assert (node.version, node.drift().status) == (3, ConfigStatus.NORMAL)


def test_a_change_by_hand_is_dirty_until_it_is_changed_back():
    node = Running.start(SCHEMA, NODE, version(1, "idle = 5")).changed({"idle": "1min", "fast": True})
    found = node.drift()
    assert found.status is ConfigStatus.DIRTY
    assert [(each.key, each.old, each.new) for each in found.differing] == [("fast", False, True), ("idle", 5.0, 60.0)]
    assert node.changed({"idle": 5, "fast": False}).drift().status is ConfigStatus.NORMAL
    assert node.offered(version(2, ""), 1.0).drift().status is ConfigStatus.NORMAL


@pytest.mark.parametrize("changes", [{"threads": 8}, {"nothing": 1}, {"idle": "long"}, {"fast": True, "idle": -1}])
def test_a_change_by_hand_that_cannot_be_is_refused(changes):
    with pytest.raises(BadInput):
        Running.start(SCHEMA, NODE).changed(changes)


def test_a_tag_that_changes_makes_a_node_dirty():
    node = Running.start(SCHEMA, NODE, version(1, 'zone = "{{ tag "zone" "none" }}"'))
    assert node.values["zone"] == "a"
    moved = attrs.evolve(node, facts=attrs.evolve(NODE, tags={"zone": "b"}))
    assert [each.key for each in moved.drift().differing] == ["zone"]
    assert moved.drift().status is ConfigStatus.DIRTY
    odd = attrs.evolve(node, facts=attrs.evolve(NODE, tags={"zone": '"'}))
    assert odd.drift().status is ConfigStatus.FAILED


def test_drift_of_values_that_lack_a_key_names_it():
    values = {key: value for key, value in SCHEMA.defaults().items() if key != "fast"}
    assert [each.key for each in drift(SCHEMA, "", NODE, values).differing] == ["fast"]


@pytest.mark.parametrize(
    ("reported", "status", "newest", "seen"),
    [
        (1, ConfigStatus.NORMAL, 2, ConfigStatus.STALE),
        (1, ConfigStatus.DIRTY, 2, ConfigStatus.STALE),
        (0, ConfigStatus.NORMAL, 2, ConfigStatus.UNKNOWN),
        (0, ConfigStatus.NORMAL, 0, ConfigStatus.UNKNOWN),
        (2, ConfigStatus.NORMAL, 2, ConfigStatus.NORMAL),
        (2, ConfigStatus.DIRTY, 2, ConfigStatus.DIRTY),
        (2, ConfigStatus.FAILED, 2, ConfigStatus.FAILED),
        (1, ConfigStatus.FAILED, 2, ConfigStatus.FAILED),
        (0, ConfigStatus.FAILED, 2, ConfigStatus.FAILED),
    ],
)
def test_G10_the_primary_counts_what_it_knows_better(reported, status, newest, seen):
    assert judged(reported, status, newest) is seen


def test_H17_a_version_above_the_newest_is_refused():
    with pytest.raises(InvalidConfigVersion) as caught:
        judged(3, ConfigStatus.NORMAL, 2)
    assert caught.value.details["newest"] == 2


def test_a_node_that_waits_for_its_stage_is_not_stale():
    assert judged(1, ConfigStatus.NORMAL, wanted=1, newest=2) is ConfigStatus.NORMAL
    assert judged(2, ConfigStatus.NORMAL, wanted=1, newest=2) is ConfigStatus.NORMAL
